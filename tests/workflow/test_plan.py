"""Plans and seeds: what would run, how long it would take, and which runs several seeds need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from runs import ROOT, environment

from trimllm_paper import demand
from trimllm_paper.commands import plan, seeds
from trimllm_paper.config import settings

CONFIG = ROOT / "config" / "paper.yaml"
MODEL = {"parameters": 1_000_000_000, "blocks": 20, "storage_dtype": "bfloat16"}


@pytest.fixture(scope="module")
def config() -> dict:
    return settings.load(settings.read_yaml(CONFIG), ROOT, [CONFIG])[0]


@pytest.mark.parametrize(
    "rule, file, expected",
    [
        (
            "trim_epoch_kept",
            "r/models/llama-7b/sciq/trim_both_r0.25_d2/drop_32/epoch.json",
            ("llama-7b", "sciq", 0.25, 32, 2, "sciq"),
        ),
        (
            "evaluate_lexglue",
            "r/eval/llama-7b/sciq/trim_both_r1_d2/drop_04/mmlu_jurisprudence.json",
            ("llama-7b", "sciq", 1, 4, 2, "lexglue"),
        ),
        ("initial_scan", "r/scans/opt-1.3b/sciq.json", ("opt-1.3b", "sciq", None, 0, 0, "sciq")),
        ("prepare_sciq", "r/data/sciq/train.jsonl", (None, None, None, 0, 0, None)),
    ],
)
def test_a_job_is_read_from_its_path(config: dict, rule: str, file: str, expected: tuple) -> None:
    job = plan.job_of(rule, file, config)
    assert (job.model, job.domain, job.ratio, job.drop, job.step, job.tested) == expected
    assert (job.run is not None) == rule.startswith("trim_epoch")


def test_files_of_one_job_are_one_job(config: dict) -> None:
    header = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan\n"
    folder = "r/models/llama-7b/sciq/full_ft"
    names = ("manifest.json", "model.safetensors", "training.json")
    rows = [f"{folder}/{name}\t-\tfull_ft\t-\tmissing\tupdate pending\n" for name in names]
    done = "r/scans/llama-7b/sciq.json\t-\tinitial_scan\t-\tok\tno update\n"
    assert len(plan.jobs_of(header + "".join(rows) + done, config)) == 1


def test_seconds_grow_with_what_is_done(config: dict) -> None:
    def seconds(task: str, **options: object) -> float:
        return demand.seconds(task, MODEL, config, True, **options)

    sizes = {"train": 1000, "test": 100, "tokens": 100}
    full = seconds("full_ft", expected=sizes)
    assert full > seconds("sparse_ft", ratio=0.5, expected=sizes)
    assert seconds("sparse_ft", ratio=0.5, expected=sizes) > seconds("sparse_ft", expected=sizes)
    whole, half = (seconds("trim", kept=kept, expected=sizes) for kept in (1, 0.5))
    assert whole > half > demand.START_SECONDS
    # Full fine-tuning: six operations a parameter and token, two epochs.
    work = 6 * MODEL["parameters"] * 1000 * 100 * 2 / demand.GPU_SUSTAINED
    assert full - seconds("full_ft", expected=sizes | {"train": 1}) == pytest.approx(
        work * 0.999, rel=1e-6
    )


def test_earlier_runs_are_taken_instead_of_rates(config: dict, tmp_path: Path) -> None:
    path = tmp_path / "benchmarks/trim_epoch/llama-7b/sciq/run/drop_02.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("s\tmax_rss\n100\t1\n")
    path.with_name("drop_04.tsv").write_text("s\tmax_rss\n50\t1\n")
    estimate = plan.Estimate(config | {"results": str(tmp_path)}, {}, gpu=True)
    file = "r/models/llama-7b/sciq/trim_both_r0.25_d2/drop_32/epoch.json"
    assert estimate.seconds(plan.job_of("trim_epoch_kept", file, config)) == 75
    assert estimate.guessed == 0


def test_a_chain_cannot_be_shortened_by_more_machines(config: dict) -> None:
    estimate = plan.Estimate(config | {"results": "nowhere"}, {}, gpu=True)
    estimate.seconds = lambda job: 3600.0
    folder = "r/models/llama-7b/sciq/trim_both_r0.25_d2"
    jobs = {plan.job_of("trim_epoch", f"{folder}/drop_{d:02d}/epoch.json", config) for d in (2, 4)}
    jobs.add(plan.job_of("full_ft", "r/models/llama-7b/sciq/full_ft/training.json", config))
    for parallel, hours in ((1, "3.0 h"), (2, "2.0 h"), (8, "2.0 h")):
        name, count, total, wall, _ = estimate.line("x", jobs, parallel)
        assert (name, count, total, wall) == ("x", "3", "3.00", hours)


def test_the_plan_ends_with_json(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "src/trimllm_paper/commands/plan.py"), "table9"]
    words += ["--configfile", str(CONFIG)]
    run = subprocess.run(
        words, capture_output=True, text=True, cwd=tmp_path, env=environment(), timeout=300
    )
    assert run.returncode == 0, run.stderr
    (row,) = json.loads(run.stdout.splitlines()[-1])
    # Two chains of SciQ with 23 epochs each, their records, scan, two baselines, fetches, table.
    assert row["artifact"] == "table9" and int(row["jobs"]) == 2 * 23 + 2 + 1 + 2 + 2 + 1
    assert not any(tmp_path.glob("results*"))


@pytest.mark.parametrize(
    "target, shown",
    [
        *((f"table{n}", n != 1) for n in range(1, 10)),
        *((name, True) for name in ("all", "tables", "checkpoints", "results/tables/table2.md")),
        *((f"figure{n}", False) for n in range(1, 5)),
        *((name, False) for name in ("figures", "claims", "overview", "paper_figures/claims.md")),
    ],
)
def test_seeds_are_refused_where_one_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, target: str, shown: bool
) -> None:
    ran: list[list[str]] = []
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(seeds.subprocess, "run", lambda words: ran.append(words) or done)
    monkeypatch.setattr(sys, "argv", ["seeds.py", target, "--seeds", "3", "4", "-n"])
    if shown:
        assert seeds.main() == 0 and len(ran) == 2
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 1 and "seed 3 alone" in told[0]
    else:
        with pytest.raises(SystemExit) as refusal:
            seeds.main()
        assert ran == []
        for word in ("error: ", target, "table2 to table9", "seed=3"):
            assert word in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_every_seed_has_a_folder_and_the_last_run_names_them() -> None:
    config = ROOT / "config" / "config.yaml"
    runs = seeds.commands("table6", [3, 4, 5, 4], config, "2", ["-n"])
    assert len(runs) == 3 and all("-n" in run and "table6" in run for run in runs)
    values = [dict(word.split("=", 1) for word in run[run.index("--config") + 1 :]) for run in runs]
    assert [value["seed"] for value in values] == ["4", "5", "3"]
    folders = [json.loads(value["results"]) for value in values[:2]]
    assert folders == ["results/seed_4", "results/seed_5"]
    assert json.loads(values[2]["replicates"]) == folders and "results" not in values[2]
