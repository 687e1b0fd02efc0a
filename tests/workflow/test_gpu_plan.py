"""Memory plans: right for models whose sizes are known, and honest about what does not fit."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from typing import Any

import pytest
from runs import ROOT, environment

from trimllm_paper import demand, gpu_plan
from trimllm_paper.config import settings

PAPER = ROOT / "config/paper.yaml"
# hidden_size and intermediate_size of the published models.
SHAPES = {"llama-7b": (4096, 11008), "llama-13b": (5120, 13824)}


@pytest.fixture(scope="module")
def paper() -> dict[str, Any]:
    return settings.load(settings.read_yaml(PAPER), ROOT, [PAPER])[0]


def with_compute(config: dict[str, Any], **compute: Any) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    changed["compute"].update(compute)
    return changed


@pytest.mark.parametrize("name", SHAPES)
def test_the_shape_of_a_model_follows_from_its_size(paper: dict, name: str) -> None:
    width, inner = SHAPES[name]
    model = paper["models"][name]
    assert demand.width(model) == pytest.approx(width, rel=0.03)
    assert demand.block(model) == pytest.approx(4 * width**2 + 3 * width * inner, rel=0.06)
    assert demand.outside_blocks(model) > 2 * 32000 * width


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("share", [1.0, 0.25])
def test_a_process_holds_its_share_of_what_one_holds(paper: dict, name: str, share: float) -> None:
    model = paper["models"][name]
    alone = gpu_plan.training_bytes(model, paper, share, 1, False)
    # AdamW in float32 over bfloat16 products: 16 bytes a trained parameter, 2 a frozen one
    blocks = model["parameters"] - demand.outside_blocks(model)
    held = alone["weights"] + alone["gradients and moments"]
    expected = blocks * (16 * share + 2 * (1 - share)) + 4 * demand.outside_blocks(model)
    assert held == pytest.approx(expected)
    for count in (2, 4, 8):
        parts = gpu_plan.training_bytes(model, paper, share, count, False)
        assert (parts["weights"] + parts["gradients and moments"]) * count == pytest.approx(held)
        offloaded = gpu_plan.training_bytes(model, paper, share, count, True)
        assert sum(offloaded.values()) == pytest.approx(sum(parts.values()) - held / count)


def test_llama_13b_trains_on_every_gpu(paper: dict) -> None:
    rows = list(gpu_plan.plan(paper["models"]["llama-13b"], paper))
    assert {row["gpu"] for row in rows} == set(gpu_plan.GPUS)
    for row in rows:
        if row["task"] == "compress":  # on one GPU, in float32: 52 GB
            assert (row["processes"] is None) == (row["available"] < 52)
        else:
            assert row["processes"] in gpu_plan.COUNTS and row["gib"] <= row["available"]
    full = {row["gpu"]: row for row in rows if row["task"] == "full_ft"}
    # 16 bytes x 13e9 = 208 GB: no GPU holds that alone, and less memory needs more GPUs
    assert full["A100-80GB"]["processes"] >= 4 and not full["A100-80GB"]["offload"]
    assert full["A100-40GB"]["processes"] > full["A100-80GB"]["processes"]
    assert full["RTX 3090"]["offload"]
    trim = {row["gpu"]: row for row in rows if row["task"] == "trim"}
    assert trim["A100-80GB"]["processes"] < full["A100-80GB"]["processes"]
    # 26 GB in bfloat16
    alone = [
        row for row in rows if row["gpu"] == "RTX 3090" and row["task"] in ("scan", "evaluate")
    ]
    assert [row["weights_on"] for row in alone] == ["disk", "disk"]
    assert max(row["gib"] for row in alone) < 10


def test_the_papers_configuration_runs_on_the_gpus_that_it_asks_for(paper: dict) -> None:
    """Four of 80 GB; not two, not of 40, and not none."""
    tasks = ("fetch", "scan", "full_ft", "sparse_ft", "trim", "compress", "evaluate")
    jobs = [(task, model) for model in paper["models"].values() for task in tasks]
    assert gpu_plan.shortfall(jobs, paper, [79.6] * 4) is None
    key, value, problem = gpu_plan.shortfall(jobs, paper, [79.6] * 2)
    assert (key, value) == ("processes", 4) and "2 GPUs" in problem
    key, _, problem = gpu_plan.shortfall(jobs, paper, [79.6, 79.6, 79.6, 39.4])
    assert key == "processes" and "GiB" in problem and "39" in problem
    key, value, problem = gpu_plan.shortfall(jobs[:1], paper, [])
    assert (key, value) == ("device", "cuda") and "no GPU" in problem


def test_gpus_that_jobs_may_not_see_do_not_count(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 81559\necho 40960\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpu_plan.gpus_here() == [pytest.approx(79.6, abs=0.1), 40]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert len(gpu_plan.gpus_here()) == 1


def test_what_fits_nowhere_says_so(paper: dict) -> None:
    huge = copy.deepcopy(paper)
    huge["models"] = {"huge": paper["models"]["llama-13b"] | {"parameters": 5e13, "blocks": 200}}
    assert "does not fit" in gpu_plan.text(huge)
    program = str(ROOT / "src/trimllm_paper/gpu_plan.py")
    run = subprocess.run(
        [sys.executable, program, "--configfile", str(PAPER)], capture_output=True, text=True
    )
    assert run.returncode == 0 and run.stdout.strip() == gpu_plan.text(paper)
    run = subprocess.run(
        [sys.executable, program, "--configfile", str(ROOT / "pyproject.toml")],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1 and run.stderr.startswith("error: ") and run.stderr.count("\n") == 1


def test_host_memory_follows_streaming_sharing_and_offload(paper: dict) -> None:
    model = paper["models"]["llama-13b"]

    def need(task: str, **compute: Any) -> int:
        return demand.memory_mb(task, model, with_compute(paper, **compute))

    whole = model["parameters"] * 2 >> 20
    assert need("scan", weights_on="disk") < 0.3 * whole < need("scan", weights_on="host")
    assert need("scan", weights_on="host") < need("scan", weights_on="device")
    # on GPUs the host holds what the first process writes; with offload or without GPUs everything
    assert whole < need("full_ft", processes=4) < need("full_ft", processes=4, offload=True)
    assert need("full_ft", processes=4, offload=True) == need("full_ft", processes=4, device="cpu")
    assert need("trim", processes=4, offload=True) < need("full_ft", processes=4, offload=True)
    # what is not shared does not change
    assert need("evaluate", processes=4) == need("evaluate")


# Prints what the rules ask for, which a dry run does not.
RULES = """
import json, sys
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, ResourceSettings

root, directory, nodes = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
files = [root / "config/smoke.yaml"]
config = {"compute": {"processes": 2, "threads": 3, "device": "cuda"}}
with SnakemakeApi() as api:
    flow = api.workflow(
        resource_settings=ResourceSettings(cores=8, nodes=nodes),
        config_settings=ConfigSettings(config=config, configfiles=files),
        snakefile=root / "Snakefile",
        workdir=directory,
    )._workflow
    asked = {r.name: (r.resources["_cores"].value, r.resources.get("gpu")) for r in flow.rules}
print(json.dumps({name: [cores, gpu and gpu.value] for name, (cores, gpu) in asked.items()}))
"""


@pytest.mark.parametrize("nodes, alone", [(None, 2), (4, 1)])
def test_training_asks_for_the_threads_and_gpus_of_all_its_processes(
    tmp_path: Any, nodes: int | None, alone: int
) -> None:
    """Other jobs ask for one GPU on a cluster, and for all on one machine: they take turns."""
    words = [sys.executable, "-c", RULES, str(ROOT), str(tmp_path), json.dumps(nodes)]
    run = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert run.returncode == 0, run.stderr
    asked = json.loads(run.stdout.splitlines()[-1])
    for name in ("full_ft", "sparse_ft", "drop_at_once", "trim_epoch", "trim_epoch_kept"):
        assert asked[name] == [6, 2]
    for name in ("initial_scan", "evaluate_sciq"):
        assert asked[name] == [3, alone]
    assert asked["prepare_sciq"][1] is None


def test_more_processes_than_documents_in_a_batch_are_refused(paper: dict) -> None:
    asked = with_compute(settings.read_yaml(PAPER), processes=9)
    with pytest.raises(settings.ConfigError, match=r"compute.processes = 9: more than"):
        settings.load(asked, ROOT, [PAPER])
