"""What configurations would run, what is refused before that, and that planning is light."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from runs import ROOT, complaint, environment, planned, snakemake

PAPER = ["table2", "table3", "table4", "table8"]
PLANS = {
    # Five domains, two chains to 42 of 60 sublayers, six an epoch, and epoch 0; three of each kept.
    ("config.yaml",): (["table2"], {"fetch_model": 1, "full_ft": 5, "trim_epoch": 5 * 2 * 8})
    + ({"settle_kept": 30, "teach": 5, "compress": 5 * 4, "evaluate_sciq": 8 + 2 * 3},)
    + ({"full_ft_choices": 5},),
    # LLaMA: 44 of 64 and 56 of 80 sublayers, two an epoch, by two criteria; OPT: three domains; of
    # Table 3 three of four chains to 32 drops are others.
    ("paper.yaml",): (PAPER, {"fetch_model": 4, "drop_at_once": 5 * 3, "evaluate_pubmedqa": 5})
    + ({"trim_epoch": 5 * 2 * (23 + 29) + 3 * 2 * (18 + 23) + 5 * 3 * 17},),
}


@pytest.mark.parametrize("configs", PLANS, ids="+".join)
def test_what_the_configurations_would_run(tmp_path: Path, configs: tuple[str, ...]) -> None:
    targets, *expected = PLANS[configs]
    files = ("--configfile", *(str(ROOT / "config" / name) for name in configs))
    jobs = planned(tmp_path, *targets, *files, configfile=None)
    assert all(jobs.items() >= some.items() for some in expected)


def test_every_target_can_be_planned(tmp_path: Path) -> None:
    jobs = planned(tmp_path, "all", "data", "exports", "evaluations", "throughput")
    assert jobs["export"] == 2 and jobs["prepare_sciq"] == jobs["claims"] == 1


@pytest.mark.parametrize(
    ("target", "config", "message"),
    [
        (
            "results/models/smollm2-135m/sciq/trim_paper/drop_60/manifest.json",
            {},
            "there is no drop_60: chain paper of smollm2-135m drops 15 an epoch, and 45 in all",
        ),
        ("table2", {"models": {"smollm2-135m": {"parameters": 13_000_000_000}}}, " MiB"),
    ],
    ids=["past the end", "too large"],
)
def test_mistakes_are_one_line(
    tmp_path: Path, target: str, config: dict[str, object], message: str
) -> None:
    """Before anything runs; tests/trimllm_paper/config has every mistake in a configuration."""
    changes = {key: json.dumps(value) for key, value in config.items()}
    assert message in complaint(snakemake(tmp_path, target, **changes))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "results" in path.parts]


# Python runs a module of this name when it starts, in processes that these start, too.
HEAVY = """
import sys
from importlib.machinery import ModuleSpec

class Refused:
    def find_spec(name, path=None, target=None):
        if name in ("torch", "transformers", "scipy", "matplotlib"):
            return ModuleSpec(name, Refused)

    def create_module(spec):
        return None

    def exec_module(module):
        raise AssertionError(f"planning imports {module.__name__}")

sys.meta_path.insert(0, Refused)
"""


def test_planning_imports_nothing_heavy(tmp_path: Path) -> None:
    """All of them can be found, and importing one fails."""
    (tmp_path / "sitecustomize.py").write_text(HEAVY)
    path = {"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"}
    words = [sys.executable, "-m", "trimllm_paper", "plan", "table2"]
    run = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=os.environ | path)
    assert run.returncode == 0 and "smollm2-135m: " in run.stdout, run.stderr


def test_lint() -> None:
    """The main environment is made by `make setup`: rules need no conda environment."""
    words = [sys.executable, "-m", "snakemake", "--lint"]
    run = subprocess.run(words, capture_output=True, text=True, env=environment(), cwd=ROOT)
    assert "Lints for" in run.stderr or run.returncode == 0, run.stderr
    found = {line[6:] for line in run.stderr.splitlines() if line.startswith("    * ")}
    assert found <= {"Specify a conda environment or container for each rule.:"}
