"""Runs that die, meet, or find what others left: one line, and nothing wrong is built upon."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from runs import ROOT, at_a_halt, command, complaint, environment, snakemake

from trimllm.base import files
from trimllm_paper.config import ConfigError, load, read_yaml
from trimllm_paper.integrity import locks

REPORT = "results/data/sums/report.json"


def test_nothing_starts_beside_jobs_that_live_on(tmp_path: Path, domain: dict) -> None:
    with locks.exclusive(tmp_path / "results/.at_work/x", what="trim_epoch of an earlier run"):
        line = complaint(snakemake(tmp_path, REPORT, **domain))
        assert "left jobs at work here: trim_epoch of an earlier run (process " in line
        assert str(os.getpid()) in line and not (tmp_path / REPORT).exists()
    assert snakemake(tmp_path, REPORT, **domain).returncode == 0
    assert not (tmp_path / "results/.at_work").exists()


def test_two_runs_in_one_folder(tmp_path: Path, domain: dict) -> None:
    """The second is refused, or where it will not be told, its jobs wait and take what is there."""
    how = {"cwd": tmp_path, "env": environment(), "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(command(tmp_path, REPORT, **domain), **how)
    with at_a_halt(wait_for_job(tmp_path / "results/.at_work")):
        second = snakemake(tmp_path, REPORT, **domain)
        assert second.returncode != 0 and "cannot be locked" in second.stderr
        # Whoever talks Snakemake out of its lock meets the job's own.
        line = complaint(snakemake(tmp_path, REPORT, "--nolock", **domain))
        assert "left jobs at work here: prepare_sums" in line
        stubborn = command(tmp_path, REPORT, "--nolock", "--no-hooks", **domain)
        third = subprocess.Popen(stubborn, **how)
        while "waiting for prepare_sums" not in (said := third.stderr.readline()):
            assert said
    assert first.communicate() and first.returncode == 0
    said = third.communicate()[1]
    assert third.returncode == 0 and "made by another job meanwhile; it is kept" in said
    assert files.read_json(tmp_path / REPORT)["files"]


def test_a_job_that_outlives_its_master_is_not_doubled(tmp_path: Path, domain: dict) -> None:
    """Only Snakemake is killed; its job goes on, blocks a second run, and is kept by a third."""
    words = command(tmp_path, REPORT, **domain)
    master = subprocess.Popen(words, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE)
    with at_a_halt(wait_for_job(tmp_path / "results/.at_work")):
        master.send_signal(signal.SIGKILL)
        master.wait()
        assert snakemake(tmp_path, "--unlock", **domain).returncode == 0
        assert "prepare_sums" in complaint(snakemake(tmp_path, REPORT, **domain))
        assert not (tmp_path / REPORT).exists()
    end = time.monotonic() + 60
    while locks.holders(tmp_path / "results/.at_work"):
        assert time.monotonic() < end
        time.sleep(0.05)
    made = (tmp_path / REPORT).stat().st_mtime_ns
    third = snakemake(tmp_path, REPORT, **domain)
    assert third.returncode == 0 and "Nothing to be done" in third.stdout + third.stderr
    assert (tmp_path / REPORT).stat().st_mtime_ns == made


def wait_for_job(folder: Path) -> int:
    """Process of the first job that holds a lock."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for path in folder.glob("*"):
            with contextlib.suppress(OSError, ValueError):
                return json.loads(path.read_text())["pid"]
        time.sleep(0.001)
    raise AssertionError("no job has started")


def test_results_of_another_configuration_are_refused(tmp_path: Path, domain: dict) -> None:
    """Brought here, or made by a run that was killed: Snakemake has no notes on them."""
    assert snakemake(tmp_path, REPORT, seed=1, **domain).returncode == 0
    before = (tmp_path / REPORT).read_bytes()
    shutil.rmtree(tmp_path / ".snakemake")
    for words in ([REPORT], ["-n", "data"]):
        line = complaint(snakemake(tmp_path, *words, seed=2, **domain))
        assert f"{REPORT} was made by another configuration or code" in line
    assert snakemake(tmp_path, REPORT, seed=1, **domain).returncode == 0
    assert (tmp_path / REPORT).read_bytes() == before
    # Accepted as it is, it says so, and nothing is left to do.
    assert snakemake(tmp_path, REPORT, "--touch", seed=2, **domain).returncode == 0
    accepted = files.read_json(tmp_path / REPORT)
    assert len(accepted["provenance"]["accepted"]) == 1
    run = snakemake(tmp_path, REPORT, "-n", seed=2, **domain)
    assert run.returncode == 0 and "Nothing to be done" in run.stdout + run.stderr
    assert {**accepted, "provenance": 0} == {**json.loads(before), "provenance": 0}
    (tmp_path / REPORT).write_bytes(before)
    shutil.rmtree(tmp_path / ".snakemake")
    assert snakemake(tmp_path, REPORT, seed=1, **domain).returncode == 0
    # Snakemake's own notes are enough to make it anew.
    assert snakemake(tmp_path, REPORT, "--force", seed=2, **domain).returncode == 0
    assert (tmp_path / REPORT).read_bytes() != before
    assert snakemake(tmp_path, REPORT, seed=1, **domain).returncode == 0
    assert (tmp_path / REPORT).read_bytes() == before


@pytest.mark.slow
def test_an_edited_scan_chooses_no_blocks(tmp_path: Path, project: dict) -> None:
    """Its scores the other way round: training would take other blocks, and nothing would tell."""
    name, trained = "results/scans/tiny/sums.json", "results/models/tiny/sums/sparse_ft"
    scan = tmp_path / name
    assert snakemake(tmp_path, name, **project).returncode == 0
    content = files.read_json(scan)
    rows = content["scan"]["units"]
    turned = [row | {"block": rows[-1]["block"] - row["block"]} for row in rows]
    files.write_json(scan, content | {"scan": content["scan"] | {"units": turned}})
    line = complaint(snakemake(tmp_path, f"{trained}/training.json", **project))
    assert f"{name} was changed" in line
    assert not (tmp_path / trained / "training.json").exists()


# ---- hostile values ------------------------------------------------------------------------------

HOSTILE = [
    "$(touch hacked)",
    "`touch hacked`",
    "; touch hacked",
    "../../hacked",
    "a b",
    "x\ny",
    "-n",
]


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("where", ["model", "wheel", "domain"])
def test_names_that_would_leave_the_folder_are_refused(
    tmp_path: Path, where: str, name: str
) -> None:
    config = read_yaml(ROOT / "config/smoke.yaml")
    if where == "domain":
        config["domains"] = [name]
    else:
        group = config[f"{where}s"]
        group[name] = group.pop(next(iter(group)))
    with pytest.raises(ConfigError, match="must match pattern|must be a text|unknown domain"):
        load(config, [])


def test_texts_for_people_reach_no_shell(tmp_path: Path, domain: dict) -> None:
    """A label is free text; a local job runs in a shell-less process."""
    models = json.dumps({"smollm2-135m": {"label": "$(touch hacked) `touch hacked`; touch hacked"}})
    assert snakemake(tmp_path, REPORT, models=models, **domain).returncode == 0
    assert not list(tmp_path.rglob("hacked"))
