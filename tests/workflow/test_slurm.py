"""A job on a real Slurm whose controller restarts, whose node is lost and whose time runs out."""

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
    made(project, "data", "results/models/tiny/base/pretrained/manifest.json", **options)
    room = project / "halting"
    room.mkdir()
    (room / "sitecustomize.py").write_text(HALTING.format(room=str(room)))
    path = {"PYTHONPATH": f"{room}:{environment()['PYTHONPATH']}"}
    with (
        slurm.cluster() as cluster,
        beginning(project, SCAN, *slurm.PROFILE, extra=cluster.client | path, **options) as started,
    ):
        run, log = started

        def begun() -> str | None:
            assert run.poll() is None, log.read_text()[-4000:]
            return next((one.suffix[1:] for one in sorted(room.glob("begun.*"))), None)

        def running() -> list[dict[str, str]]:
            return [one for one in cluster.jobs() if one["state"] == "RUNNING"]

        wait_for(begun, 500, log)
        (job,) = running()
        cluster.restart_controller()
        assert begun() == job["id"] and running() == [job], log.read_text()[-4000:]

        (room / f"begun.{job['id']}").unlink()
        cluster.lose_node(job["node"])
        cluster.let_begin(job["id"], log)
        wait_for(begun, 500, log)
        (again,) = running()
        assert again["id"] == job["id"] and again["node"] != job["node"]

        (room / f"begun.{job['id']}").unlink()
        cluster.call("scontrol", "update", f"JobId={job['id']}", "TimeLimit=1")
        wait_for(begun, 500, log)
        (longer,) = running()
        assert longer["id"] != job["id"]
        assert minutes(longer["limit"]) > 1.4 * minutes(job["limit"])
        (room / "go").touch()
        assert run.wait(500) == 0, log.read_text()[-4000:]
    records.Record.read(project / SCAN)
