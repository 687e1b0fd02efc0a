"""Jobs of four GPUs on a Slurm of two nodes with four fake GPUs each; a tiny model."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm
from runs import environment, snakemake

from trimllm_paper import records

pytestmark = [pytest.mark.slow, pytest.mark.long]
TASKS = ("full_ft", "sparse_ft")
TARGETS = [f"results/models/tiny/sums/{task}/manifest.json" for task in TASKS]
FOUR_GPUS = [f"{task}:gpu=4" for task in TASKS]
# Python runs a module of this name first: it notes what Slurm gave to the process.
NOTING = """
import os, sys
if os.environ.get("SLURM_PROCID") and "snakemake" not in str(sys.argv):
    names = "SLURM_JOB_ID", "SLURMD_NODENAME", "CUDA_VISIBLE_DEVICES"
    words = [os.environ.get(name, "") for name in names]
    with open({notes!r}, "a") as stream:
        stream.write("|".join(words) + "\\n")
"""


@pytest.fixture(scope="module")
def client() -> Iterator[dict[str, str]]:
    """Clients' environment of a Slurm of two nodes with four GPUs each."""
    with slurm.clients(memory_mb=12_000, cpus=8, gpus=(4, 4), limit=60) as found:
        yield found


def test_jobs_of_four_gpus_wait_for_whole_nodes_and_use_all(
    tmp_path: Path, project: dict[str, Any], client: dict[str, str]
) -> None:
    """Five GPUs are free and no node has four; then both nodes are, and two jobs take them."""
    ready = snakemake(tmp_path, "results/scans/tiny/sums.json", **project)
    assert ready.returncode == 0, ready.stderr[-4000:]
    (tmp_path / "noting").mkdir()
    notes, log = tmp_path / "notes", tmp_path / "master.log"
    (tmp_path / "noting/sitecustomize.py").write_text(NOTING.format(notes=str(notes)))
    path = f"{tmp_path / 'noting'}:{environment()['PYTHONPATH']}"
    others = [
        submit(client, f"--nodelist={node}", f"--gpus={count}")
        for node, count in (("n1", 2), ("n2", 1))
    ]
    words = [*TARGETS, *slurm.PROFILE, "--set-resources", *FOUR_GPUS]
    extra = client | {"PYTHONPATH": path}
    with slurm.at_work(tmp_path, log, *words, extra=extra, **project) as master:

        def ours() -> list[dict[str, str]]:
            assert master.poll() is None or master.returncode == 0, log.read_text()[-4000:]
            return [job for job in slurm.jobs(client) if job["id"] not in others]

        slurm.wait_for(lambda: {job["why"] for job in ours()} >= {"Resources"}, 500, log)
        slurm.wait_for(lambda: len(ours()) == 2, 500, log)
        assert {job["state"] for job in ours()} == {"PENDING"} and not notes.exists()
        subprocess.run(["scancel", *others], check=True, env=environment() | client)
        slurm.wait_for(lambda: [job["state"] for job in ours()] == ["RUNNING"] * 2, 500, log)
        assert master.wait(500) == 0, log.read_text()[-4000:]
    assert {(job["cpus"], job["state"]) for job in ours()} == {("4", "COMPLETED")}
    seen = {tuple(line.split("|")) for line in notes.read_text().splitlines()}
    assert {devices for *_, devices in seen} == {"0,1,2,3"}
    assert {(job, node) for job, node, _ in seen} == {
        (job["id"], node) for job, node in zip(ours(), nodes_of(seen, ours()), strict=True)
    }
    assert {node for _, node, _ in seen} == {"n1", "n2"}
    for task in TASKS:
        found = records.Training.read(tmp_path / f"results/models/tiny/sums/{task}/training.json")
        assert found.processes and found.processes["count"] == 4


def submit(client: dict[str, str], *words: str) -> str:
    """Number of a job that waits until it is cancelled."""
    command = ["sbatch", "--parsable", "--output=/dev/null", *words, "--wrap=sleep 3600"]
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment() | client
    )
    return run.stdout.strip()


def nodes_of(seen: set[tuple[str, ...]], jobs: list[dict[str, str]]) -> list[str]:
    """The one node on which each job's processes ran."""
    nodes = [{node for job, node, _ in seen if job == one["id"]} for one in jobs]
    assert [len(one) for one in nodes] == [1] * len(jobs)
    return [one.pop() for one in nodes]
