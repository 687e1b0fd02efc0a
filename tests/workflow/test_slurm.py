"""A job on a real Slurm whose controller restarts, whose node is lost and whose time runs out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import slurm
from runs import beginning, environment, made, wait_for

from trimllm_paper import records

pytestmark = [pytest.mark.slow, pytest.mark.long]
SCAN = "results/scans/tiny/lexglue.json"
# Python runs a module of this name first: a scan under Slurm notes its job, and waits to be let go.
HALTING = """
import os, pathlib, sys, time
room = pathlib.Path({room!r})
if os.environ.get("SLURM_JOB_ID") and "scan.py" in str(sys.orig_argv):
    (room / ("begun." + os.environ["SLURM_JOB_ID"])).touch()
    while not (room / "go").exists():
        time.sleep(0.2)
"""


def minutes(limit: str) -> int:
    """Of Slurm's `1:02:00` or `2:00`."""
    *hours, rest, _ = map(int, limit.split(":"))
    return 60 * sum(hours) + rest


def test_no_job_is_lost(project: Path) -> None:
    options = {"configfile": project / "config.yaml"}
    made(project, "data", **options)
    room = project / "halting"
    room.mkdir()
    (room / "sitecustomize.py").write_text(HALTING.format(room=str(room)))
    path = {"PYTHONPATH": f"{room}:{environment()['PYTHONPATH']}"}
    with (
        slurm.cluster() as client,
        beginning(project, SCAN, *slurm.PROFILE, extra=client | path, **options) as (run, log),
    ):

        def begun() -> str | None:
            assert run.poll() is None, log.read_text()[-4000:]
            return next((one.suffix[1:] for one in sorted(room.glob("begun.*"))), None)

        wait_for(begun, 500, log)
        (job,) = (one for one in slurm.jobs(client) if one["id"] == begun())
        slurm.restart_controller(client, log)
        assert begun() == job["id"], log.read_text()[-4000:]
        assert [one for one in slurm.jobs(client) if one["state"] == "RUNNING"] == [job]

        (room / f"begun.{job['id']}").unlink()
        slurm.lose_node(client, job["node"], job["id"])
        slurm.let_begin(client, job["id"], log)
        wait_for(begun, 500, log)
        (again,) = (one for one in slurm.jobs(client) if one["state"] == "RUNNING")
        assert again["id"] == job["id"] and again["node"] != job["node"]

        (room / f"begun.{job['id']}").unlink()
        shorten = ["scontrol", "update", f"JobId={job['id']}", "TimeLimit=1"]
        subprocess.run(shorten, check=True, env=environment() | client)
        wait_for(begun, 500, log)
        longer = slurm.jobs(client)[-1]
        assert longer["id"] != job["id"] and longer["state"] == "RUNNING"
        assert minutes(longer["limit"]) > 1.4 * minutes(job["limit"])
        (room / "go").touch()
        assert run.wait(500) == 0, log.read_text()[-4000:]
    records.ScanFile.read(project / SCAN)
