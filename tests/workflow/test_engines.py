"""Engines with an environment of their own: the rule that finds it, before anything is trained."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from runs import ROOT, counts, snakemake

ENGINES = json.dumps({"methods": ["awq_int4"], "engines": {"awq_int4": "autoawq"}})


def python_with(tmp_path: Path, name: str, body: str) -> Path:
    """A program that answers as an environment's Python would."""
    program = tmp_path / name
    program.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("engine, wanted", [("autoawq", 1), ("llmcompressor", 0)])
def test_only_an_engine_of_its_own_needs_an_environment(
    tmp_path: Path, engine: str, wanted: int
) -> None:
    compress = ENGINES.replace("autoawq", engine)
    run = snakemake(tmp_path, "-n", "table2", compress=compress)
    assert run.returncode == 0, run.stderr
    jobs = counts(run.stdout + run.stderr)
    assert jobs.get("engine_environment", 0) == wanted and jobs["compress"] == 1


def test_the_environment_that_the_variable_names_is_taken(tmp_path: Path) -> None:
    program = python_with(tmp_path, "own-python", "print('0.2.9')")
    told = "results/engines/autoawq.txt"
    run = snakemake(
        tmp_path, told, "--notemp", compress=ENGINES, extra={"TRIMLLM_AUTOAWQ_PYTHON": str(program)}
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / told).read_text() == f"{program}\n"


def test_an_environment_that_is_not_there_ends_the_run_before_training(tmp_path: Path) -> None:
    run = snakemake(
        tmp_path, "table2", compress=ENGINES, extra={"TRIMLLM_AUTOAWQ_PYTHON": "/nowhere/python"}
    )
    assert run.returncode != 0
    log = (tmp_path / "logs/engine_environment/autoawq.log").read_text()
    assert log.count("error: ") == 1 and "/nowhere/python" in log and "Traceback" not in log
    assert not list(tmp_path.glob("results/models/*/sciq"))


def test_the_conda_file_of_every_environment_is_there() -> None:
    sys.path.insert(0, str(ROOT / "src"))
    from trimllm.compress.methods import EXTERNAL

    for environment in EXTERNAL.values():
        assert (ROOT / f"envs/{environment}.yaml").is_file()
