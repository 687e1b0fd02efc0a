"""The smoke run on a real Slurm: what a cluster does to jobs and to who submits them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import slurm
from runs import MODEL, ROOT, RUN, command, environment, listing, snakemake

pytestmark = pytest.mark.slow
ALIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")
# How a fast one-host cluster without accounting differs from a real one.
HERE = [
    *("--latency-wait", "5", "--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
]
# The first attempt gets less memory than it takes to import what it needs.
TOO_LITTLE = "fetch_model:mem_mb=150 if attempt == 1 else 2400"
# More than the one that there is, if the epochs' GPUs were added.
ONE_GPU = ["trim_epoch:gpu=1", "trim_epoch_kept:gpu=1"]
CHAIN = ["--groups", "trim_epoch=chain", "trim_epoch_kept=chain"]
PROFILE = ["--profile", str(ROOT / "workflow/profiles/slurm")]
RECIPES = ("full_ft", "sparse_ft", f"{RUN}/drop_30", f"{RUN}/drop_45")
TARGETS = [f"results/eval/smollm2-135m/sciq/{recipe}/mmlu_sciences.json" for recipe in RECIPES]
WORDS = [*TARGETS, *PROFILE, *HERE, *CHAIN, "--set-resources", TOO_LITTLE, *ONE_GPU]
# What a shell would run if the value reached one unquoted.
HOSTILE = {"smollm2-135m": {"label": "$(touch hacked) `touch hacked`; touch hacked & #"}}
CONFIG = {"compute": json.dumps({"device": "cpu"}), "models": json.dumps(HOSTILE)}


@pytest.fixture(scope="module")
def client() -> Iterator[dict[str, str]]:
    """A Slurm's clients' environment."""
    if reason := slurm.missing():
        assert "TRIMLLM_NEEDS_SLURM" not in os.environ, reason
        pytest.skip(reason)
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        slurm.cluster(Path(folder, "state"), memory_mb=4000) as found,
    ):
        yield found


def wait_for(condition, seconds: float, log: Path) -> None:
    """Wait until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, log.read_text()[-4000:]
        time.sleep(0.5)


def finished(directory: Path) -> dict[str, float]:
    """Results with their times; benchmarks are noted by Snakemake after a job."""
    files = listing(directory / "results")
    return {n: t for n, t in files.items() if not n.startswith(("benchmarks/", ".at_work/"))}


def alive(client: dict[str, str]) -> list[str]:
    return [job["id"] for job in slurm.jobs(client) if job["state"] in ALIVE]


def test_smoke_run_on_slurm(smoke: Path, tmp_path: Path, client: dict[str, str]) -> None:
    """Out of memory, master killed, restarted, chain in one allocation: the same bytes."""
    chain, log = tmp_path / MODEL / "sciq" / RUN, tmp_path / "master.log"
    with log.open("w") as stream:
        master = subprocess.Popen(
            command(tmp_path, *WORDS, **CONFIG),
            cwd=tmp_path,
            env=environment() | client,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        wait_for(
            lambda: (chain / "drop_00/epoch.json").exists() or master.poll() is not None, 500, log
        )
        assert master.poll() is None, log.read_text()[-4000:]
        os.killpg(master.pid, signal.SIGKILL)
        master.wait()
    # Killed for its memory, and submitted again with more.
    fetches = [job for job in slurm.jobs(client) if "fetch_model" in job["comment"]]
    assert [job["memory"] for job in fetches] == ["150M", "2400M"], log.read_text()
    assert [job["state"] for job in fetches] == ["FAILED", "COMPLETED"]
    (first,) = tmp_path.glob(f"logs/slurm/**/{fetches[0]['id']}.log")
    assert "exceeded memory limit" in first.read_text()

    # The jobs live on; nobody may start others beside them.
    assert alive(client)
    assert snakemake(tmp_path, "--unlock", **CONFIG).returncode == 0
    second = snakemake(tmp_path, *WORDS, extra=client, **CONFIG)
    assert second.returncode != 0 and "left jobs at work here: " in second.stderr, second.stderr
    wait_for(lambda: not alive(client), 500, log)

    # They were not disturbed, and what they made is not made again.
    before = finished(tmp_path)
    assert f"models/smollm2-135m/sciq/{RUN}/drop_45/manifest.json" in before
    third = snakemake(tmp_path, *WORDS, extra=client, **CONFIG)
    assert third.returncode == 0, third.stderr[-4000:]
    after = finished(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert_same_bytes(smoke, tmp_path)
    assert not list(tmp_path.rglob("hacked"))

    # Four epochs, one allocation, no more than one of them needs.
    chains = [job for job in slurm.jobs(client) if "chain" in job["comment"]]
    (sparse,) = [
        job for job in slurm.jobs(client) if "sparse_ft" in job["comment"].split("_wild")[0]
    ]
    assert [job["memory"] for job in chains] == [sparse["memory"]]


def assert_same_bytes(one: Path, other: Path) -> None:
    """Same weights of all recipes and same answers to all test documents."""
    for recipe in RECIPES:
        manifests = [root / MODEL / "sciq" / recipe / "manifest.json" for root in (one, other)]
        hashes = [json.loads(path.read_text())["files"] for path in manifests]
        assert hashes[0]["model.safetensors"] == hashes[1]["model.safetensors"], recipe
    for target in TARGETS:
        first, second = (json.loads((root / target).read_text()) for root in (one, other))
        assert first["correct"] == second["correct"] and first["n"] == 8
