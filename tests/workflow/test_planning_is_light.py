"""Planning imports nothing heavy: by what Python has loaded when it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from runs import ROOT

HEAVY = {"torch", "transformers", "pandas", "scipy", "matplotlib"}
# Python runs a module of this name when it starts, in processes that these start, too.
AT_EXIT = """
import atexit, json, os, sys
from pathlib import Path

def tell():
    file = Path(os.environ["LOADED"], f"{os.getpid()}.json")
    file.write_text(json.dumps([name for name in sys.modules if "." not in name]))

atexit.register(tell)
"""
PLAN = ["-m", "trimllm_paper", "plan", "table2"]
DRY_RUN = ["-m", "snakemake", "-n", "all", "--cores", "1", "--snakefile", str(ROOT / "Snakefile")]


@pytest.mark.parametrize(
    "words, processes",
    [
        (DRY_RUN, 1),
        (PLAN, 2),  # Snakemake is one of its own
        (["-c", "import trimllm"], 1),
        (["-c", "import trimllm_paper.jobs, trimllm_paper.targets, trimllm_paper.resources"], 1),
    ],
    ids=["dry run", "plan", "trimllm", "trimllm_paper"],
)
def test_nothing_heavy_is_imported(tmp_path: Path, words: list[str], processes: int) -> None:
    (tmp_path / "sitecustomize.py").write_text(AT_EXIT)
    for name in ("loaded", "work"):
        (tmp_path / name).mkdir()
    run = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path / "work",
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}",
            "LOADED": str(tmp_path / "loaded"),
        },
        timeout=600,
    )
    assert run.returncode == 0, run.stderr
    loaded = [set(json.loads(file.read_text())) for file in (tmp_path / "loaded").glob("*.json")]
    assert len(loaded) >= processes and all("trimllm" in one for one in loaded[:1])
    assert not HEAVY & set().union(*loaded)
