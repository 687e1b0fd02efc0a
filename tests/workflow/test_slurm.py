"""The smoke run on a real Slurm: what a cluster does to jobs and to who submits them."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import slurm
from runs import MODEL, ROOT, RUN, at_a_halt, environment, listing, snakemake

pytestmark = [pytest.mark.slow, pytest.mark.long]
# The first attempt gets less memory than it takes to import what it needs.
TOO_LITTLE = "fetch_model:mem_mb=150 if attempt == 1 else 2400"
# More than the one that there is, if the epochs' GPUs were added.
ONE_GPU = ["trim_epoch:gpu=1"]
CHAIN = ["--groups", "trim_epoch=chain"]
RECIPES = ("full_ft", "sparse_ft", f"{RUN}/drop_30", f"{RUN}/drop_45")
TARGETS = [f"results/eval/smollm2-135m/sciq/{recipe}/science_answers.json" for recipe in RECIPES]
WORDS = [*TARGETS, *slurm.PROFILE, *CHAIN, "--set-resources", TOO_LITTLE, *ONE_GPU]
# What a shell would run if the value reached one unquoted.
HOSTILE = {"smollm2-135m": {"label": "$(touch hacked) `touch hacked`; touch hacked & #"}}
CONFIG = {"compute": json.dumps({"device": "cpu"}), "models": json.dumps(HOSTILE)}
# Python runs a module of this name first: an epoch stands still in its middle, whatever the
# machine's speed, between choosing what to drop and training.
HALTING = """
import builtins, os, pathlib, signal
say, once = builtins.print, pathlib.Path({once!r})
def print(*words, **how):
    say(*words, **how)
    if once.exists() and "scan before epoch 2" in str(words):
        once.unlink()
        os.kill(os.getpid(), signal.SIGSTOP)
builtins.print = print
"""


@pytest.fixture(scope="module")
def client() -> Iterator[dict[str, str]]:
    """A Slurm's clients' environment."""
    with slurm.clients(memory_mb=4000) as found:
        yield found


def finished(directory: Path) -> dict[str, float]:
    """Results with their times; benchmarks are noted by Snakemake after a job."""
    files = listing(directory / "results")
    return {n: t for n, t in files.items() if not n.startswith(("benchmarks/", ".at_work/"))}


def test_smoke_run_on_slurm(smoke: Path, tmp_path: Path, client: dict[str, str]) -> None:
    """Out of memory, master killed, restarted, chain in one allocation: the same bytes."""
    chain, log = tmp_path / MODEL / "sciq" / RUN, tmp_path / "master.log"
    with slurm.at_work(tmp_path, log, *WORDS, extra=client, **CONFIG) as master:
        slurm.wait_for(
            lambda: (chain / "state_00/epoch.json").exists() or master.poll() is not None, 500, log
        )
        assert master.poll() is None, log.read_text()[-4000:]
    # Killed for its memory, and submitted again with more.
    fetches = [job for job in slurm.jobs(client) if "fetch_model" in job["comment"]]
    assert [job["memory"] for job in fetches] == ["150M", "2400M"], log.read_text()
    assert [job["state"] for job in fetches] == ["FAILED", "COMPLETED"]
    (first,) = tmp_path.glob(f"logs/slurm/**/{fetches[0]['id']}.log")
    assert "exceeded memory limit" in first.read_text()

    # The jobs live on; nobody may start others beside them.
    assert slurm.alive(client)
    assert snakemake(tmp_path, "--unlock", **CONFIG).returncode == 0
    second = snakemake(tmp_path, *WORDS, extra=client, **CONFIG)
    assert second.returncode != 0 and "left jobs at work here: " in second.stderr, second.stderr
    slurm.wait_for(lambda: not slurm.alive(client), 500, log)

    # They were not disturbed, and what they made is not made again.
    before = finished(tmp_path)
    assert f"models/smollm2-135m/sciq/{RUN}/state_45/manifest.json" in before
    # Of states the records stay.
    before = {n: t for n, t in before.items() if "/state_" not in n or n.endswith("epoch.json")}
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


def assert_same_weights(one: Path, other: Path, recipes: Sequence[str]) -> None:
    for recipe in recipes:
        manifests = [root / MODEL / "sciq" / recipe / "manifest.json" for root in (one, other)]
        hashes = [json.loads(path.read_text())["files"] for path in manifests]
        assert hashes[0]["model.safetensors"] == hashes[1]["model.safetensors"], recipe


def assert_same_bytes(one: Path, other: Path) -> None:
    """Same weights of all recipes and same answers to all test documents."""
    assert_same_weights(one, other, RECIPES)
    for target in TARGETS:
        first, second = (json.loads((root / target).read_text()) for root in (one, other))
        assert first["correct"] == second["correct"] and first["n"] == 8


def minutes(limit: str) -> int:
    """Of Slurm's `1:02:00` or `2:00`."""
    *hours, rest, _ = map(int, limit.split(":"))
    return 60 * sum(hours) + rest


def test_an_epoch_that_outlasts_its_time_limit(
    smoke: Path, tmp_path: Path, client: dict[str, str]
) -> None:
    """Slurm ends it in its middle; it is submitted again with more time: the same bytes."""
    for part in ("results/data", "results/scans", f"{MODEL}/base"):
        shutil.copytree(smoke / part, tmp_path / part)
    once, chain, log = tmp_path / "once", tmp_path / MODEL / "sciq" / RUN, tmp_path / "master.log"
    once.touch()
    (tmp_path / "halting").mkdir()
    (tmp_path / "halting/sitecustomize.py").write_text(HALTING.format(once=str(once)))
    extra = client | {"PYTHONPATH": f"{tmp_path / 'halting'}:{ROOT / 'src'}"}
    recipes = [f"{RUN}/drop_30", f"{RUN}/drop_45"]
    words = [f"{MODEL}/sciq/{recipe}/manifest.json" for recipe in recipes] + slurm.PROFILE
    before = len(slurm.jobs(client))
    with slurm.at_work(tmp_path, log, *words, extra=extra, **CONFIG) as master:
        slurm.wait_for(lambda: not once.exists() or master.poll() is not None, 500, log)
        assert master.poll() is None, log.read_text()[-4000:]
        *finished_epochs, job = slurm.jobs(client)[before:]
        assert [one["state"] for one in (*finished_epochs, job)] == [*["COMPLETED"] * 2, "RUNNING"]
        records = {path: path.stat().st_mtime for path in chain.glob("state_*/epoch.json")}
        # Nobody submits it again until we have looked.
        with at_a_halt(master.pid):
            shorten = ["scontrol", "update", f"JobId={job['id']}", "TimeLimit=1"]
            subprocess.run(shorten, check=True, env=environment() | client)
            slurm.wait_for(lambda: slurm.jobs(client)[-1]["state"] == "TIMEOUT", 300, log)
            assert len(records) == 2 and not [*chain.glob("state_30/*")]
        assert master.wait(500) == 0, log.read_text()[-4000:]
    (said,) = tmp_path.glob(f"logs/slurm/**/{job['id']}.log")
    assert "DUE TO TIME LIMIT" in said.read_text() and "'TIMEOUT'" in log.read_text()
    # No epoch but this one was submitted twice, and this one with half as much more time.
    jobs = slurm.jobs(client)[before:]
    # The epoch again, the next one, and both states settled.
    ended = ["COMPLETED", "COMPLETED", "TIMEOUT", *["COMPLETED"] * 4]
    assert [one["state"] for one in jobs] == ended
    assert minutes(jobs[3]["limit"]) == math.ceil(1.5 * minutes(job["limit"]))
    assert {path: path.stat().st_mtime for path in records} == records
    assert not [*chain.glob(".*"), *(tmp_path / "results/.at_work").glob("*")]
    assert_same_weights(smoke, tmp_path, recipes)
