"""Jobs of a run share their imports, and what they make is what they make alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from runs import environment, snakemake

from trimllm_paper import forkserver

pytestmark = pytest.mark.skipif(not forkserver.can_serve(), reason="forks are for Linux")
WEIGHTS = "results/models/tiny/sums/sparse_ft/manifest.json"
EVALUATIONS = [f"results/eval/tiny/sums/{recipe}/sums.json" for recipe in ("sparse_ft", "full_ft")]
# Python runs a module of this name first: the server notes its forks, two a job.
NOTING = """
import os, sys
if "trimllm_paper.forkserver" in sys.orig_argv:
    def note():
        with open({notes!r}, "a") as stream:
            stream.write("fork\\n")
    os.register_at_fork(after_in_child=note)
"""


@pytest.mark.slow
def test_forked_jobs_make_the_same_bytes(tmp_path: Path, project: dict[str, Any]) -> None:
    room, notes = tmp_path / "noting", tmp_path / "notes"
    room.mkdir()
    (room / "sitecustomize.py").write_text(NOTING.format(notes=str(notes)))
    extra = {"PYTHONPATH": f"{room}:{environment()['PYTHONPATH']}"}
    made, forks = [], []
    for forked in (True, False):
        compute = json.dumps({"device": "cpu", "processes": 1, "forkserver": forked})
        notes.write_text("")
        run = snakemake(tmp_path, *EVALUATIONS, extra=extra, **project, compute=compute)
        assert run.returncode == 0, run.stderr[-4000:]
        forks.append(len(notes.read_text().splitlines()))
        files = json.loads((tmp_path / WEIGHTS).read_text())["files"]
        right = [json.loads((tmp_path / path).read_text())["correct"] for path in EVALUATIONS]
        made.append((files["model.safetensors"], right))
        (tmp_path / "results").rename(tmp_path / f"results {forked}")
    assert made[0] == made[1]
    # A scan, two trainings, two evaluations.
    assert forks == [2 * 5, 0]
