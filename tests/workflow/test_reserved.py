"""What is asked of Snakemake before anything runs: plans, and what rules reserve."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import ROOT, environment


def plan(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trimllm_paper", "plan", *words]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment(), timeout=300
    )


def test_what_snakemake_refuses_is_one_line(tmp_path: Path) -> None:
    run = plan(tmp_path, "table99")
    (line,) = run.stderr.splitlines()
    assert run.returncode == 1 and line.startswith("error: ") and "table99" in line


@pytest.mark.parametrize(
    "words, said",
    [
        (["--configfile", "missing.yaml"], "missing.yaml: cannot be read: No such file"),
        (["--config", "trim.ratio="], 'trim.ratio = "": a change is KEY=VALUE'),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path: Path, words: list[str], said: str) -> None:
    """Where Snakemake itself has a traceback."""
    run = plan(tmp_path, "table2", *words)
    (line,) = run.stderr.splitlines()
    assert run.returncode == 1 and line.startswith("error: ") and said in line


# Prints what the rules ask for, which a dry run does not.
RULES = """
import json, sys
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, ResourceSettings

root, directory, nodes = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
files = [root / "config/smoke.yaml"]
config = {"compute": {"processes": 2, "threads": 3, "device": "cuda"}}
with SnakemakeApi() as api:
    flow = api.workflow(
        resource_settings=ResourceSettings(cores=8, nodes=nodes),
        config_settings=ConfigSettings(config=config, configfiles=files),
        snakefile=root / "Snakefile",
        workdir=directory,
    )._workflow
    told = {"model": "smollm2-135m", "domain": "sciq", "name": "paper"}

    def asked(rule, name):
        if name not in rule.resources:
            return None
        resource = rule.resources[name]
        if not resource.is_evaluable():
            return resource.value
        return resource.evaluate(told).value

    names = ("_cores", "gpu", "nodes", "tasks_per_gpu")
    found = {rule.name: [asked(rule, name) for name in names] for rule in flow.rules}
print(json.dumps(found))
"""


@pytest.mark.parametrize("nodes", [None, 4], ids=["here", "cluster"])
def test_training_asks_for_the_threads_and_gpus_of_all_its_processes(
    tmp_path: Any, nodes: int | None
) -> None:
    words = [sys.executable, "-c", RULES, str(ROOT), str(tmp_path), json.dumps(nodes)]
    run = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert run.returncode == 0, run.stderr
    asked = json.loads(run.stdout.splitlines()[-1])
    for name in ("full_ft", "sparse_ft", "drop_at_once", "trim_epoch", "settle", "settle_kept"):
        assert asked[name] == [6, 2, 1, 0]
    for name in ("scan", "evaluate_sciq"):
        assert asked[name] == [3, 1, 1, 0]
    assert asked["prepare_sciq"][1] is None
