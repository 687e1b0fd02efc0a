"""What the system refuses a run, for real: it ends in one line, and goes on once that is mended."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from mounts import POWERLESS, mounts
from runs import complaint, environment, snakemake

from trimllm.base import files
from trimllm_paper import records

pytestmark = pytest.mark.slow
REPORT = "results/data/sums/report.json"
SCAN = "results/scans/tiny/sums.json"
# Python runs a module of this name first: the job that prepares documents may write no file of more
# than so many bytes, as under a quota.
RATIONED = """
import resource, sys
if "prepare_domain" in str(sys.orig_argv):
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
"""
# The same, with a file system that has lost what is renamed, as one on a network may.
STALE = """
import errno, os, sys
if "prepare_domain" in str(sys.orig_argv):
    def replace(source, target, **how):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), source, None, target)
    os.replace = os.rename = replace
"""


def prepared(folder: Path) -> dict[str, Any]:
    """The files of a domain that is there, whole, with nothing beside them."""
    report = files.read_json(folder / REPORT)
    root = (folder / REPORT).parent
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found == {"report.json", *report["files"]}
    assert not (folder / "results/.at_work").exists()
    return report


@pytest.mark.parametrize("least", ["size=8k", "nr_inodes=4"])
def test_no_space_or_no_inodes(tmp_path: Path, domain: dict, least: str) -> None:
    """The second is met before a job has the lock of its outputs."""
    (tmp_path / "results").mkdir()
    with mounts() as room:
        room.mount("-t", "tmpfs", "-o", least, "none", tmp_path / "results")
        line = complaint(snakemake(tmp_path, REPORT, prefix=room.prefix, **domain))
        assert "error: no space left ([Errno 28] No space left" in line and "make room" in line
        room.mount("-o", "remount,size=8m,nr_inodes=200", tmp_path / "results")
        again = snakemake(tmp_path, REPORT, prefix=room.prefix, **domain)
        assert again.returncode == 0, again.stderr
        prepared(room.within(tmp_path))


@pytest.mark.parametrize(
    "code, said, remedy",
    [
        (RATIONED, "error: no space left ([Errno 27] File too large", "make room"),
        (STALE, "error: the file system refused it ([Errno 116] Stale file handle: ", "mend that"),
    ],
    ids=["a quota", "a rename"],
)
def test_a_job_that_may_not_write(
    tmp_path: Path, domain: dict, code: str, said: str, remedy: str
) -> None:
    """Over its quota, or where a rename is refused."""
    (tmp_path / "refusing").mkdir()
    (tmp_path / "refusing/sitecustomize.py").write_text(code)
    path = {"PYTHONPATH": f"{tmp_path / 'refusing'}:{environment()['PYTHONPATH']}"}
    line = complaint(snakemake(tmp_path, REPORT, extra=path, **domain))
    assert said in line and remedy in line
    assert not (tmp_path / REPORT).exists()
    assert snakemake(tmp_path, REPORT, **domain).returncode == 0
    prepared(tmp_path)


def test_a_read_only_results_folder(tmp_path: Path, domain: dict) -> None:
    """What is there can be read, and nothing of it is changed or lost."""
    assert snakemake(tmp_path, REPORT, **domain).returncode == 0
    before, results = prepared(tmp_path), tmp_path / "results"
    with mounts() as room:
        room.mount("--bind", "-o", "ro", results, results)
        made = snakemake(tmp_path, REPORT, prefix=room.prefix, **domain)
        assert made.returncode == 0 and "Nothing to be done" in made.stderr
        line = complaint(snakemake(tmp_path, REPORT, "--force", prefix=room.prefix, **domain))
        assert re.match(r"error: results/data/sums/\S+ may not be written; make its", line)
        new = {"results": "results/new", **domain}
        path = "results/new/data/sums"
        line = complaint(snakemake(tmp_path, f"{path}/report.json", prefix=room.prefix, **new))
        assert line.startswith(f"error: Failed to create output directory {path}. OSError: ")
        assert "[Errno 30] Read-only file system" in line
    assert prepared(tmp_path) == before


def test_a_results_folder_that_is_a_link(tmp_path: Path, domain: dict) -> None:
    """Also one to a disk that is not there now; results are the same by whichever way."""
    (tmp_path / "results").symlink_to(tmp_path / "disk/results")
    line = complaint(snakemake(tmp_path, REPORT, **domain))
    assert line.startswith("error: Failed to create output directory results/data/sums. ")
    assert not (tmp_path / "disk").exists()
    (tmp_path / "disk/results").mkdir(parents=True)
    assert snakemake(tmp_path, REPORT, **domain).returncode == 0
    before = prepared(tmp_path / "disk")
    (tmp_path / "results").unlink()
    (tmp_path / "disk/results").rename(tmp_path / "results")
    again = snakemake(tmp_path, REPORT, **domain)
    assert again.returncode == 0 and "Nothing to be done" in again.stderr
    assert prepared(tmp_path) == before


def test_a_clock_ten_minutes_off(tmp_path: Path, project: dict[str, Any]) -> None:
    """Documents come from a machine that is ahead, the model from one that is behind."""
    model = "results/models/tiny/base/pretrained/manifest.json"
    assert snakemake(tmp_path, "data", model, **project).returncode == 0
    for part, seconds in (("results/data", 600), ("results/models", -600), ("source", -1200)):
        for path in (tmp_path / part).rglob("*"):
            os.utime(path, (path.stat().st_atime + seconds, path.stat().st_mtime + seconds))
    # A script that is newer than the model, as in a clone of minutes ago, would fetch it again: not
    # by its clock's fault.
    triggers = ("--rerun-triggers", "mtime", "params", "input", "software-env")
    run = snakemake(tmp_path, SCAN, *triggers, **project)
    assert run.returncode == 0, run.stderr
    assert "1 of 1 jobs done" in run.stderr
    records.ScanFile.read(tmp_path / SCAN)
    again = snakemake(tmp_path, SCAN, *triggers, **project)
    assert again.returncode == 0 and "Nothing to be done" in again.stderr


def test_the_locale_c(tmp_path: Path, domain: dict) -> None:
    """Neither Python's way out of it nor letters of ASCII alone."""
    text = (tmp_path / "domains/sums.yaml").read_text().replace("label: sums", "label: Σ, naïve")
    (tmp_path / "domains/sums.yaml").write_text(text, encoding="utf-8")
    with (tmp_path / "train.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"q": "Où est le café?", "c": ["là", "ici"], "a": 0}\n')
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = snakemake(tmp_path, REPORT, extra=ascii_alone, **domain)
    assert run.returncode == 0, run.stderr
    prepared(tmp_path)
    kept = "".join(path.read_text("utf-8") for path in (tmp_path / REPORT).parent.glob("*.jsonl"))
    assert "Où est le café?" in kept or "O\\u00f9 est le caf\\u00e9?" in kept


def test_a_home_without_write_access(
    tmp_path: Path, domain: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake keeps a cache there; it can be told another place."""
    home = tmp_path / "home"
    home.mkdir(mode=0o555)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    where = {"HOME": str(home)}
    line = complaint(snakemake(tmp_path, REPORT, prefix=POWERLESS, extra=where, **domain))
    assert line.startswith("error: PermissionError: [Errno 13] Permission denied: ")
    assert "/home/.cache" in line and line.endswith(
        "(say in XDG_CACHE_HOME where Snakemake may write)"
    )
    where["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    run = snakemake(tmp_path, REPORT, prefix=POWERLESS, extra=where, **domain)
    assert run.returncode == 0, run.stderr
    prepared(tmp_path)
    assert not list(home.iterdir())
