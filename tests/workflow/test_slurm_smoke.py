"""The smoke run with four processes a training, on a Slurm that loses its controller and a node."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import slurm
from runs import MODEL, RUN, environment

from trimllm_paper import records
from trimllm_paper.__main__ import main

pytestmark = [pytest.mark.slow, pytest.mark.long]
CONFIG = {
    "compute": json.dumps({"device": "cpu", "processes": 4}),
    "trim": json.dumps({"kept_percent": [50]}),
    "compress": json.dumps({"methods": []}),  # which is of one process
}
TRAINING = {"full_ft": 1, "sparse_ft": 1, "trim_epoch": 3, "settle_kept": 1}
WORDS = [
    *("table2", *slurm.PROFILE, "--set-resources"),
    *(f"{rule}:gpu=4" for rule in TRAINING),
]
# Python runs a module of this name first: an epoch waits in its middle to be let go, three of its
# processes for the first.
HALTING = """
import builtins, os, pathlib, time
say, room = builtins.print, pathlib.Path({room!r})
def print(*words, **how):
    say(*words, **how)
    if "scan before epoch 2" in str(words):
        (room / ("begun." + os.environ["SLURM_JOB_ID"])).touch()
        while not (room / "go").exists():
            time.sleep(0.2)
builtins.print = print
"""


def test_no_training_of_four_processes_is_lost(tmp_path: Path) -> None:
    """Two nodes of four GPUs, then one: a Table 2 of one chain, and no job twice but the lost."""
    room, log = tmp_path / "halting", tmp_path / "master.log"
    room.mkdir()
    (room / "sitecustomize.py").write_text(HALTING.format(room=str(room)))
    path = {"PYTHONPATH": f"{room}:{environment()['PYTHONPATH']}"}
    with (
        slurm.clients(memory_mb=12_000, cpus=8, gpus=(4, 4)) as client,
        slurm.at_work(tmp_path, log, *WORDS, extra=client | path, **CONFIG) as master,
    ):

        def begun() -> bool:
            assert master.poll() is None, log.read_text()[-4000:]
            return any(room.glob("begun.*"))

        slurm.wait_for(begun, 900, log)
        (number,) = (one.suffix[1:] for one in room.glob("begun.*"))
        slurm.restart_controller(client, log)
        assert master.poll() is None, log.read_text()[-4000:]
        (job,) = (one for one in slurm.jobs(client) if one["id"] == number)
        assert (job["state"], job["cpus"]) == ("RUNNING", "4"), job
        slurm.lose_node(client, job["node"], number)
        (room / "go").touch()
        assert master.wait(900) == 0, log.read_text()[-4000:]
        jobs = slurm.jobs(client)
    assert {one["state"] for one in jobs} == {"COMPLETED"}
    rules = Counter(one["comment"].removeprefix("rule_").split("_wildcards")[0] for one in jobs)
    assert {rule: rules[rule] for rule in TRAINING} == TRAINING, rules
    (again,) = (one for one in jobs if one["id"] == number)
    assert again["node"] != job["node"]
    # Each was trained by four, and what was made is whole.
    folder = tmp_path / MODEL / "sciq"
    trained = [records.Training.read(path) for path in folder.rglob("training.json")]
    epochs = [records.Epoch.read(path) for path in folder.rglob(f"{RUN}/**/epoch.json")]
    assert len(trained) == 3 and len(epochs) == 3
    assert {one.processes["count"] for one in [*trained, *epochs] if one.processes} == {4}
    assert main(["verify", str(tmp_path / "results")]) == 0
    assert not [*(tmp_path / "results/.at_work").glob("*")]
