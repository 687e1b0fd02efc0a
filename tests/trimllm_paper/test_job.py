"""What a script has around its work: a log, and errors in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, subprocess
from types import SimpleNamespace
from snakemake.iocontainers import InputFiles
from trimllm.base.errors import UserError
from trimllm_paper.job import Job

def job():
    config = {"results": "results", "mirror": None, "models": {}, "compute": {"device": "cpu"}}
    return Job(SimpleNamespace(
        rule="trim", config=config, threads=1, wildcards={"model": "llama"},
        params={}, input=InputFiles(fromdict={"train": "train.jsonl"}),
        output=["results/made.json"], log=["logs/job.log"], resources={},
    ))
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


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        ("pass", None),
        ("raise UserError('what is wrong')", "error: what is wrong"),
        (
            "open('/dev/full', 'wb', 0).write(b'a')",
            "error: OSError: [Errno 28] No space left on device (make room or",
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
    assert ("Traceback" in log) == (shown is not None and "what is wrong" not in shown)
    if shown:
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"[trim llama] {shown}") and log.endswith(f"{line[13:]}\n")
