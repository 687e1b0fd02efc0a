"""Another workflow uses this one: the same jobs under its names, and the same refusals."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from runs import ROOT, SMOKE, counts, environment

from trimllm.base import files

OUTER = """
configfile: "outer.yaml"

rule mine:
    output: "mine.txt"
    shell: "touch {{output}}"

module trimllm:
    snakefile: {snakefile}
    config: config["trimllm"]

use rule * from trimllm{names}
"""
JOBS = {
    **{"fetch_model": 1, "prepare_sciq": 1, "scan": 1},
    **{"full_ft": 1, "sparse_ft": 1, "trim_epoch": 4, "settle_kept": 2},
    **{"compress": 2, "evaluate_sciq": 7, "render_table": 1, "table2": 1},
}
"""Jobs of Table 2 by the smoke configuration, where nothing was fetched."""


def planned(
    folder: Path,
    target: str,
    names: str = "",
    snakefile: str = repr(str(ROOT / "workflow" / "Snakefile")),
    **changes: object,
) -> subprocess.CompletedProcess[str]:
    """Dry run of a workflow in `folder` that has ours as a module, by the smoke configuration."""
    config = yaml.safe_load(SMOKE.read_text()) | {"results": "results"} | changes
    (folder / "outer.yaml").write_text(yaml.safe_dump({"mine": 3, "trimllm": config}))
    (folder / "Snakefile").write_text(OUTER.format(snakefile=snakefile, names=names))
    words = [sys.executable, "-m", "snakemake", "-n", target, "--cores", "2"]
    env = environment() | {"XDG_CACHE_HOME": str(folder / "cache")}
    return subprocess.run(words, capture_output=True, text=True, cwd=folder, env=env)


def complaint(run: subprocess.CompletedProcess[str]) -> str:
    """The only line that complains."""
    assert run.returncode != 0 and "Traceback" not in run.stderr, run.stderr
    (line,) = [line for line in run.stderr.splitlines() if "error: " in line]
    return line


@pytest.mark.parametrize("prefix", ["trimllm_", ""])
def test_another_workflow_plans_the_same_jobs(tmp_path: Path, prefix: str) -> None:
    names = f" as {prefix}*" if prefix else ""
    run = planned(tmp_path, f"{prefix}table2", names)
    assert run.returncode == 0, run.stderr
    jobs = counts(run.stdout + run.stderr)
    assert jobs == {f"{prefix}{name}": number for name, number in JOBS.items()}


def test_a_workflow_read_from_a_git_host_plans_the_same_jobs(tmp_path: Path) -> None:
    """As `snakedeploy` writes it; the clone that Snakemake keeps is there already."""
    clone = tmp_path / "cache/snakemake/snakemake/source-cache/snakemake-git-cache/github.com/lab"
    git = ["git", "-C", str(ROOT)]
    subprocess.run([*git, "clone", "-q", "--bare", str(ROOT), str(clone / "trimllm")], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    place = f'github("lab/trimllm", path="workflow/Snakefile", commit="{head.stdout.strip()}")'
    run = planned(tmp_path, "table2", snakefile=place)
    assert run.returncode == 0, run.stderr
    assert counts(run.stdout + run.stderr) == JOBS


def test_a_mistake_in_the_configuration_is_one_line(tmp_path: Path) -> None:
    line = complaint(planned(tmp_path, "mine", evaluate={"documents": 0}))
    assert "evaluate.documents = 0: must be greater than or equal to 1" in line


def test_results_of_another_configuration_are_refused(tmp_path: Path) -> None:
    report = tmp_path / "results/data/sciq/report.json"
    files.write_json(report, {"files": {}, "provenance": {"config_hash": "0" * 64}})
    line = complaint(planned(tmp_path, "trimllm_table2", " as trimllm_*"))
    assert "results/data/sciq/report.json was made by another configuration or code" in line
