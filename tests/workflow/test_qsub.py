"""A second executor: jobs by qsub, as Grid Engine and PBS speak it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from drivers import card, nvidia_smi, torch
from qsub import scheduler
from runs import ROOT, environment, snakemake

pytest.importorskip("snakemake_executor_plugin_cluster_generic")
pytestmark = pytest.mark.slow
PROFILE = ["--profile", str(ROOT / "workflow/profiles/cluster-generic")]
FAST = ["--seconds-between-status-checks", "1", "--latency-wait", "5"]
TARGET = "results/scans/tiny/sums.json"
RULES = ["fetch_model", "prepare_sums", "scan"]
# Of two threads in one process.
COMPUTE = {"compute": json.dumps({"processes": 1, "threads": 2})}


def rule_of(words: str) -> str:
    return words.split(" -N ")[1].split()[0]


@pytest.mark.parametrize("grid_engine", [True, False], ids=["grid-engine", "pbs"])
def test_a_run_by_qsub(tmp_path: Path, project: dict[str, Any], grid_engine: bool) -> None:
    """Every job asks for what its rule reserves; one that is lost in the queue is sent again."""
    room = tmp_path / "scheduler"
    client = scheduler(room, grid_engine=grid_engine, refused="nothing")
    (room / "dies").write_text("scan")
    words = [TARGET, *PROFILE, *FAST, "--set-resources"]
    words += ["scan:gpu=2", "scan:mem_mb=3001", "scan:runtime=90"]
    run = snakemake(tmp_path, *words, extra=client, **project, **COMPUTE)
    assert run.returncode == 0, run.stderr[-4000:]
    assert (tmp_path / TARGET).is_file() and "error: " not in run.stderr
    asked = (room / "asked").read_text().splitlines()
    assert sorted(map(rule_of, asked)) == sorted([*RULES, "scan"])
    scans = [words for words in asked if rule_of(words) == "scan"]
    wanted = ["-l h_rt=5400", "-pe smp 2", "-l mem_free=1501M", "-l gpu=2"]
    if not grid_engine:
        wanted = ["-l walltime=5400", "-l select=1:ncpus=2:mem=3001mb:ngpus=2"]
    for one in scans:
        assert [part for part in wanted if part not in one] == []
    assert not [words for words in asked if "gpu" in words and words not in scans]
    assert len(list((tmp_path / "logs/cluster").glob("*.exit"))) == len(RULES)


def test_what_qsub_refuses_is_one_line(tmp_path: Path, project: dict[str, Any]) -> None:
    client = scheduler(tmp_path / "scheduler", grid_engine=True, refused="gpu=9")
    words = [TARGET, *PROFILE, *FAST, "--set-resources", "scan:gpu=9"]
    run = snakemake(tmp_path, *words, extra=client, **project, **COMPUTE)
    (line,) = [line for line in run.stderr.splitlines() if "error: " in line]
    assert run.returncode == 1 and "Traceback" not in run.stderr
    assert "qsub takes no job of scan (" in line and "Job violates queue limits" in line
    assert not (tmp_path / "results/scans").exists()


def test_a_node_whose_driver_does_not_fit_says_so(tmp_path: Path, project: dict[str, Any]) -> None:
    """Who submits cannot ask; the job asks before it loads torch."""
    room = tmp_path / "scheduler"
    client = scheduler(room, grid_engine=True, refused="nothing")
    nvidia_smi(room / "bin", card("Tesla K80"), driver="390.157", cuda="CUDA Version: 9.1")
    compute = {"device": "cuda", "processes": 1, "threads": 2}
    words = [TARGET, *PROFILE, *FAST, "--retries", "0"]
    run = snakemake(tmp_path, *words, extra=client, **project, compute=json.dumps(compute))
    assert run.returncode == 1 and "Traceback" not in run.stderr
    (log,) = (tmp_path / "logs/scan").rglob("*.log")
    (line,) = log.read_text().splitlines()
    assert line.startswith("error: torch ") and "390.157" in line and "install" in line
    assert line in run.stderr


def test_a_node_without_int4_kernels_trains_nothing(
    tmp_path: Path, project: dict[str, Any]
) -> None:
    """Else it would end when all that is compressed has been trained."""
    base = "results/models/tiny/base/pretrained/manifest.json"
    assert snakemake(tmp_path, base, "data", **project, **COMPUTE).returncode == 0
    room = tmp_path / "scheduler"
    client = scheduler(room, grid_engine=True, refused="nothing")
    nvidia_smi(room / "bin", card("NVIDIA A100-SXM4-80GB", "8.0"))
    # Neither compilers nor Triton, and a torch for CUDA that nobody comes to import.
    torch(room, "2.13.0+cu130", "13.0")
    client["PATH"] = f"{room / 'bin'}:/usr/bin:/bin"
    client |= {"PYTHONPATH": f"{room}:{environment()['PYTHONPATH']}", "CUDA_HOME": "", "CC": ""}
    compute = {"device": "cuda", "processes": 1, "threads": 2}
    how = {"compute": json.dumps(compute), "compress": json.dumps({"methods": ["awq_int4"]})}
    words = ["results/models/tiny/sums/full_ft/manifest.json", *PROFILE, *FAST, "--retries", "0"]
    run = snakemake(tmp_path, *words, extra=client, **project, **how)
    assert run.returncode == 1 and "Traceback" not in run.stderr
    (log,) = (tmp_path / "logs/full_ft").rglob("*.log")
    (line,) = log.read_text().splitlines()
    assert line.startswith("error: awq_int4 would fail on this machine, where kernels need ")
    assert line in run.stderr
    assert not [*(tmp_path / "results/models/tiny/sums").rglob("*.safetensors")]
