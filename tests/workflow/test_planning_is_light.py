"""Planning imports nothing heavy, told by what Python has loaded when it ends."""

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


# What the rules and the plan import, without Snakemake, whose plugin for Slurm loads pandas.
OURS = [
    line
    for path in sorted((ROOT / "workflow").rglob("*.smk"))
    for line in path.read_text().splitlines()
    if line.startswith("from trimllm")
]
OURS += ["import trimllm_paper.__main__", "import trimllm_paper.commands.plan"]


@pytest.mark.parametrize(
    "words, without",
    [
        (DRY_RUN, HEAVY - {"pandas"}),
        (PLAN, HEAVY - {"pandas"}),
        (["-c", "; ".join(OURS)], HEAVY),
    ],
    ids=["dry run", "plan", "rules"],
)
def test_nothing_heavy_is_imported(tmp_path: Path, words: list[str], without: set[str]) -> None:
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
    assert any("trimllm" in one for one in loaded)
    assert not without & set().union(*loaded)
