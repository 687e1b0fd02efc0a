"""What a script finds around its work: log, errors in one line, the pool of its recipe."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
from models import random_documents

from trimllm.data.document import write_documents
from trimllm.train.batching import documents_of_epoch
from trimllm_paper.job import file_system_error

SCRIPT = """
import json, os, subprocess, sys
from types import SimpleNamespace
from snakemake.iocontainers import InputFiles
from trimllm.base.errors import UserError
from trimllm_paper.job import Job

def job(**params):
    config = {"results": "results", "mirror": None, "models": {}, "compute": {"device": "cpu"}}
    return Job(SimpleNamespace(
        rule="trim", config=config, threads=1, wildcards={"model": "llama"},
        params={"depends": params}, input=InputFiles(fromdict={"train": "train.jsonl"}),
        output=["results/made.json"], log=["logs/job.log"], resources={},
    ))
"""
POOL = """
seen = []
for pool in (None, 3, 99):
    with job(settings={"seed": 7}, pool=pool) as one:
        file = one.training_file()
        seen.append((file, open(file).read()))
json.dump(seen, open("seen.json", "w"))
"""
TALK = """
with job() as one:
    print("scan: 3/10 documents, 0:05 left")
    os.write(2, b"from a library\\n")
    subprocess.run(["sh", "-c", "echo from a process; echo and its errors >&2"])
"""


def run(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    (folder / "train.jsonl").touch()
    words = [sys.executable, "-c", SCRIPT + script]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300)


def test_a_pool_is_the_first_documents_of_the_order(tmp_path: Path) -> None:
    """As a first epoch over so many would see them; all where there are fewer."""
    documents = random_documents(8)
    write_documents(tmp_path / "train.jsonl", documents)
    assert run(tmp_path, POOL).returncode == 0
    whole, three, fewer = json.loads((tmp_path / "seen.json").read_text())
    assert whole == ["train.jsonl", (tmp_path / "train.jsonl").read_text()]
    for (file, text), count in ((three, 3), (fewer, 8)):
        write_documents(tmp_path / "first.jsonl", documents_of_epoch(documents, 0, count, seed=7))
        assert text == (tmp_path / "first.jsonl").read_text()
        assert not Path(file).exists()


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        ("pass", None),
        ("raise UserError('what is wrong')", "error: what is wrong"),
        (
            "open('/dev/full', 'wb', 0).write(b'a')",
            "error: no space left ([Errno 28] No space left",
        ),
        ("raise ValueError('shape\\nmismatch')", "error: ValueError: shape (unexpected: run"),
    ],
)
def test_the_log_gets_everything_and_the_terminal_one_line(
    tmp_path: Path, end: str, shown: str | None
) -> None:
    """Also what is written past Python, by libraries and other processes."""
    done = run(tmp_path, f"{TALK}    {end}\n")
    assert done.returncode == (shown is not None) and done.stdout == ""
    log = (tmp_path / "logs/job.log").read_text()
    for line in ("scan: 3/10 documents", "from a library", "from a process", "and its errors"):
        assert line in log
    assert ("Traceback" in log) == ("ValueError" in end)
    if shown:
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"[trim llama] {shown}") and log.endswith(f"{line[13:]}\n")


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "no space left"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "no space left"),
        (OSError(errno.ESTALE, "Stale file handle", "a", None, "b"), "the file system refused it"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "the file system refused it"),
        (OSError(errno.EIO, "Input/output error"), None),  # of no known file
        (FileExistsError(errno.EEXIST, "File exists", "a"), None),
        (ValueError("shape mismatch"), None),
    ],
)
def test_what_a_file_system_refuses_is_one_line(error: Exception, shown: str | None) -> None:
    problem = file_system_error(error)
    assert problem is None if shown is None else problem is not None and problem.startswith(shown)
