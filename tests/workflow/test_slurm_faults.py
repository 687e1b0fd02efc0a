"""Slurm's controller restarts while a job runs, and a node goes down with a job on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm
from runs import environment, snakemake

from trimllm_paper import records

pytestmark = [pytest.mark.slow, pytest.mark.long]
SCAN = "results/scans/tiny/sums.json"
COMPUTE = {"compute": json.dumps({"device": "cpu", "processes": 1})}
# Python runs a module of this name first: a scan under Slurm notes its job, and waits to be let go.
HALTING = """
import os, pathlib, sys, time
room = pathlib.Path({room!r})
if os.environ.get("SLURM_JOB_ID") and "scan.py" in str(sys.orig_argv):
    (room / ("begun." + os.environ["SLURM_JOB_ID"])).touch()
    while not (room / "go").exists():
        time.sleep(0.2)
"""


@pytest.fixture
def client() -> Iterator[dict[str, str]]:
    """Clients' environment of a Slurm of two nodes, for this test alone."""
    with slurm.clients(memory_mb=6000, gpus=(0, 0)) as found:
        yield found


@pytest.mark.parametrize("requeued", [True, False])
def test_no_job_is_lost_with_the_controller_or_a_node(
    tmp_path: Path, project: dict[str, Any], client: dict[str, str], requeued: bool
) -> None:
    """A cluster may requeue a job whose node is gone, as Slurm does by default, or may not."""
    ready = snakemake(tmp_path, "data", **project, **COMPUTE)
    assert ready.returncode == 0, ready.stderr[-4000:]
    room, log = tmp_path / "halting", tmp_path / "master.log"
    room.mkdir()
    (room / "sitecustomize.py").write_text(HALTING.format(room=str(room)))
    extra = client | {"PYTHONPATH": f"{room}:{environment()['PYTHONPATH']}"}
    extra |= {} if requeued else {"SBATCH_NO_REQUEUE": "1"}
    words = [SCAN, *slurm.PROFILE]
    with slurm.at_work(tmp_path, log, *words, extra=extra, **project, **COMPUTE) as master:

        def begun() -> list[str]:
            assert master.poll() is None, log.read_text()[-4000:]
            return sorted(path.suffix[1:] for path in room.glob("begun.*"))

        slurm.wait_for(begun, 500, log)
        (job,) = (one for one in slurm.jobs(client) if one["id"] in begun())
        slurm.restart_controller(client, log)
        assert begun() == [job["id"]]
        assert [one["state"] for one in slurm.jobs(client) if one["id"] == job["id"]] == ["RUNNING"]
        assert master.poll() is None, log.read_text()[-4000:]

        (room / f"begun.{job['id']}").unlink()
        slurm.lose_node(client, job["node"], job["id"])
        if requeued:
            slurm.let_begin(client, job["id"], log)
        slurm.wait_for(begun, 500, log)
        (second,) = (one for one in slurm.jobs(client) if one["state"] == "RUNNING")
        assert second["node"] != job["node"] and begun() == [second["id"]]
        assert (second["id"] == job["id"]) == requeued
        (room / "go").touch()
        assert master.wait(500) == 0, log.read_text()[-4000:]
    records.ScanFile.read(tmp_path / SCAN)
    assert not slurm.alive(client) and not [*(tmp_path / "results/.at_work").glob("*")]
