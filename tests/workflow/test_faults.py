"""Two runs at once, jobs that outlive their run, and what the system refuses: one line each."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import psutil
from mounts import mounts
from runs import at_a_halt, beginning, complaint, job_of, made, snakemake

from trimllm.base import files

REPORT = "results/data/sums/report.json"
CONFIG = {"configfile": "config.yaml"}
# Python runs a module of this name first: the job that prepares documents may write no file of more
# than so many bytes, as under a quota.
RATIONED = """
import resource, sys
if "prepare_domain" in str(sys.orig_argv):
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
"""


def assert_prepared(folder: Path) -> None:
    """The files of the domain are there, whole, with nothing beside them."""
    report = files.read_json(folder / REPORT)
    root = (folder / REPORT).parent
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found == {"report.json", *report["files"]}


def test_a_second_run_is_refused(project: Path) -> None:
    """By Snakemake's lock."""
    with beginning(project, REPORT, **CONFIG) as (first, log):
        job = job_of(first, "prepare_domain.py", log)
        with at_a_halt(job.pid):
            line = complaint(snakemake(project, REPORT, **CONFIG))
            assert "another run is at work in this folder" in line
        assert first.wait(60) == 0
    assert_prepared(project)


def test_a_job_that_outlives_its_run_writes_the_same(project: Path) -> None:
    """Only Snakemake is killed; a second run does not disturb its job, nor the job its result."""
    with beginning(project, REPORT, **CONFIG) as (run, log):
        job = job_of(run, "prepare_domain.py", log)
        with at_a_halt(job.pid):
            run.send_signal(signal.SIGKILL)
            run.wait()
            made(project, "--unlock", **CONFIG)
            made(project, REPORT, **CONFIG)
            before = (project / REPORT).read_bytes()
        psutil.wait_procs([job], timeout=60)
    assert (project / REPORT).read_bytes() == before
    assert_prepared(project)


def test_results_of_another_configuration_are_accepted_by_name(project: Path) -> None:
    """Refused where Snakemake has no notes; after `--touch` they say what made them."""
    made(project, REPORT, seed=1, **CONFIG)
    before = files.read_json(project / REPORT)
    shutil.rmtree(project / ".snakemake")
    line = complaint(snakemake(project, REPORT, seed=2, **CONFIG))
    assert f"{REPORT} was made by another configuration or code; delete it" in line
    made(project, REPORT, "--touch", seed=2, **CONFIG)
    accepted = files.read_json(project / REPORT)
    assert accepted["provenance"]["accepted"] == [before["provenance"]["config_hash"]]
    assert accepted | {"provenance": 0} == before | {"provenance": 0}
    assert "Nothing to be done" in made(project, REPORT, seed=2, **CONFIG)


def test_no_space_and_a_quota(project: Path) -> None:
    """Room is made, and the same command goes on."""
    (project / "refusing").mkdir()
    (project / "refusing/sitecustomize.py").write_text(RATIONED)
    path = {"PYTHONPATH": f"{project / 'refusing'}:{os.environ.get('PYTHONPATH', '')}"}
    line = complaint(snakemake(project, REPORT, extra=path, **CONFIG))
    assert "error: no space left ([Errno 27] File too large" in line and "make room" in line
    assert not (project / REPORT).exists()
    shutil.rmtree(project / "results", ignore_errors=True)
    (project / "results").mkdir()
    with mounts() as room:
        room.mount("-t", "tmpfs", "-o", "size=8k", "none", project / "results")
        line = complaint(snakemake(project, REPORT, prefix=room.prefix, **CONFIG))
        assert "error: no space left ([Errno 28] No space left" in line
        room.mount("-o", "remount,size=8m", project / "results")
        made(project, REPORT, prefix=room.prefix, **CONFIG)
        assert_prepared(room.within(project))


def test_a_read_only_results_folder(project: Path) -> None:
    """What is there can be read, and nothing of it is changed or lost."""
    made(project, REPORT, **CONFIG)
    results = project / "results"
    with mounts() as room:
        room.mount("--bind", "-o", "ro", results, results)
        line = complaint(snakemake(project, REPORT, "--force", prefix=room.prefix, **CONFIG))
        assert re.match(r"error: results/data/sums/\S+ may not be written; make its", line)
    assert_prepared(project)


def test_the_locale_c_and_hostile_labels(project: Path) -> None:
    """Letters beyond ASCII survive, and no text of the configuration reaches a shell."""
    path = project / "domains/sums.yaml"
    path.write_text(path.read_text().replace("label: sums", "label: Σ, naïve"), encoding="utf-8")
    with (project / "sums.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"q": "Où est le café?", "c": ["là", "ici"], "a": 0}\n')
    models = json.dumps({"tiny": {"label": "$(touch hacked) `touch hacked`; touch hacked"}})
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    made(project, REPORT, extra=ascii_alone, models=models, **CONFIG)
    assert_prepared(project)
    text = "".join(one.read_text("utf-8") for one in (project / REPORT).parent.rglob("*.jsonl"))
    assert "Où est le café?" in text or "O\\u00f9 est le caf\\u00e9?" in text
    assert not list(project.rglob("hacked"))
