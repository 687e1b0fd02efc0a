"""Results under other seeds are pooled only if nothing but the seed sets them apart."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runs import ROOT, command, environment, snakemake

TINY = ROOT / "config" / "tables.smoke.yaml"
FOLDER = "results/seed_1"
TABLES = ("table6", "table9")
# Instead of a check, an empty result of every job, which carries what it depended on.
STAND_INS = """
import atexit, sys
from trimllm.base import files
from trimllm_paper.integrity import lineage

def write():
    for job in jobs:
        made = {"config_hash": job.config_hash, "seed": job.how.get("seed")}
        for path in job.outputs:
            if path.endswith(".json"):
                files.write_json(path, {"files": {}, "provenance": made})

jobs = []
lineage.foreign = lambda job, remade: jobs.append(job)
atexit.register(write)
from snakemake.cli import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def seed_1(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a run under seed 1, as `make seeds` makes it."""
    directory = tmp_path_factory.mktemp("seeds")
    words = command(directory, "-n", *TABLES, configfile=TINY, seed=1, results=FOLDER)
    made = subprocess.run(
        [sys.executable, "-c", STAND_INS, *words[3:]],
        **{"cwd": directory, "env": environment(), "capture_output": True, "text": True},
    )
    assert made.returncode == 0, made.stderr
    assert len(list((directory / FOLDER).rglob("*.json"))) > 20
    return directory / FOLDER


@pytest.fixture
def other_seed(tmp_path: Path, seed_1: Path) -> Path:
    """A folder with them."""
    shutil.copytree(seed_1, tmp_path / FOLDER)
    return tmp_path


def planned(directory: Path, **config: object) -> subprocess.CompletedProcess[str]:
    given = {key: json.dumps(value) for key, value in config.items()}
    given = {"seed": 0, "replicates": json.dumps([FOLDER])} | given
    return snakemake(directory, "-n", *TABLES, configfile=TINY, **given)


def complaint(run: subprocess.CompletedProcess[str]) -> str:
    """The only line that complains."""
    assert run.returncode != 0 and "Traceback" not in run.stderr
    (line,) = [line for line in run.stderr.splitlines() if "error: " in line]
    return line


def test_what_another_seed_made_is_pooled(other_seed: Path) -> None:
    run = planned(other_seed)
    assert run.returncode == 0, run.stderr
    assert "table6" in run.stdout + run.stderr


@pytest.mark.parametrize(
    "config, file",
    [
        ({"finetune": {"documents": 7}}, "models/smollm2-135m/lexglue/"),
        ({"finetune": {"epochs": 2}}, "models/smollm2-135m/lexglue/"),
        ({"finetune": {"weight_decay": 0.5}}, "models/smollm2-135m/lexglue/"),
        ({"models": {"smollm2-135m": {"learning_rate": 1e-3}}}, "models/smollm2-135m/lexglue/"),
        ({"evaluate": {"documents": 9}}, "data/lexglue/report.json"),
        ({"evaluate": {"batch_tokens": 99}}, "eval/smollm2-135m/lexglue/"),
    ],
    ids=str,
)
def test_what_another_configuration_made_is_refused(
    other_seed: Path, config: dict[str, object], file: str
) -> None:
    line = complaint(planned(other_seed, **config))
    assert f"error: {FOLDER}/{file}" in line
    assert "another configuration or code than this run's with only the seed changed" in line
    assert "take its folder out of `replicates`" in line and "make seeds" in line


def test_a_seed_counts_once(other_seed: Path) -> None:
    line = complaint(planned(other_seed, seed=1))
    assert f"error: {FOLDER} holds results of seed 1, and so does results;" in line


def test_the_record_of_another_epoch_is_noticed(other_seed: Path) -> None:
    """What Table 9 pools are records of epochs, whose checkpoints may be gone."""
    chain = other_seed / FOLDER / "models/smollm2-135m/lexglue/trim_paper"
    shutil.copy(chain / "state_00/epoch.json", chain / "state_30/epoch.json")
    line = complaint(planned(other_seed))
    assert f"error: {FOLDER}/models/smollm2-135m/lexglue/trim_paper/state_30/epoch.json was" in line
