"""Plans: jobs from Snakemake's list, their seconds, the wall clock of chains."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from configurations import configuration, with_compute

from trimllm_paper import demand, duration, gpus
from trimllm_paper.commands import plan
from trimllm_paper.config import Config
from trimllm_paper.estimate import PREPARING

HEADER = "output_file\tdate\trule\tlog-file(s)\tstatus\tplan\n"
CHAIN = "r/models/llama-7b/sciq/trim_paper"


def pending(*files: tuple[str, str]) -> str:
    return HEADER + "".join(f"{f}\t-\t{rule}\t-\tmissing\tupdate pending\n" for rule, f in files)


def job(rule: str, *files: str) -> plan.Job:
    (found,) = plan.jobs_of(pending(*((rule, file) for file in files)))
    return found


@pytest.fixture
def paper() -> Config:
    return configuration("paper").model_copy(update={"results": "nowhere"})


def test_files_of_one_job_are_one_job() -> None:
    folder = "r/models/llama-7b/sciq/full_ft"
    names = ("manifest.json", "model.safetensors", "training.json")
    rows = pending(*(("full_ft", f"{folder}/{name}") for name in names))
    made = ("table2.md", "table2.csv", "table3.md")
    rows += pending(*(("render_table", f"r/tables/{name}") for name in made))
    splits = "r/data/sciq/train.jsonl", "r/data/sciq/report.json"
    rows += pending(*(("prepare_sciq", file) for file in splits))
    rows += "r/scans/llama-7b/sciq.json\t-\tscan\t-\tok\tno update\n"
    found = [job.rule for job in plan.jobs_of(rows)]
    assert sorted(found) == ["full_ft", "prepare_sciq", *["render_table"] * 2]
    answers = job("evaluate_lexglue", *(f"r/eval/m/d/trim_paper/drop_04/{t}.json" for t in "ab"))
    assert answers.tasks == ("a", "b") and answers.place.recipe.dropped == 4


def test_a_job_takes_what_its_path_says(paper: Config) -> None:
    estimate = plan.Estimate(paper)
    epoch = job("trim_epoch", f"{CHAIN}/state_32/epoch.json")
    model = paper.models["llama-7b"]
    expected = paper.tested["sciq"].expected
    assert estimate.seconds(epoch) == duration.seconds(
        "trim", model, paper, kept=0.5, expected=expected
    )
    # Half of the units and all that is outside of them, two bytes a parameter; two more of what is
    # trained, a quarter of these units.
    _, block, outside = demand.shape(model)
    inside = model.blocks * block / 2
    half = 2 * (outside + inside)
    assert estimate.bytes(epoch) == pytest.approx(half + 2 * inside / 4)
    settled = job("settle_kept", f"{CHAIN}/drop_32/manifest.json")
    assert estimate.bytes(settled) == pytest.approx(half) and estimate.scratch(epoch) == 0
    # Weights and two moments, the state before this one, the best weights: float32.
    sparse = job("sparse_ft", "r/models/llama-7b/sciq/sparse_ft/manifest.json")
    assert estimate.scratch(sparse) == pytest.approx((2 * 3 + 1) * 4 * model.parameters / 4)
    full = job("full_ft", "r/models/llama-7b/medmcqa/full_ft/manifest.json")
    assert estimate.scratch(full) == (2 * 3 + 1) * 4 * model.parameters
    small = plan.Estimate(configuration("config"))
    short = job("full_ft", "r/models/smollm2-135m/sciq/full_ft/manifest.json")
    assert small.seconds(short) < 600 and small.scratch(short) == 0
    wider = job("trim_epoch", "r/models/llama-7b/sciq/trim_both_r1/state_32/epoch.json")
    # Four GPUs share it, which together are as long at it as one GPU and more.
    assert estimate.hours({wider}) > estimate.hours({epoch})
    # Documents are those of the domain that a task belongs to.
    other = next(iter(paper.tested["lexglue"].tests))
    seen = [f"r/eval/llama-7b/sciq/full_ft/{task}.json" for task in (other, "sciq")]
    first, second = (estimate.seconds(job("evaluate_x", file)) for file in seen)
    assert first != second
    shape = job("measure", "r/throughput/a100/random-llama-7b/trim_half/keep_50.json")
    assert estimate.seconds(shape) > 2 * duration.START and estimate.bytes(shape) == 0
    assert estimate.seconds(job("prepare_sciq", "r/data/sciq/report.json")) == PREPARING
    assert estimate.guessed == 8


def test_earlier_runs_are_taken_instead_of_the_model(paper: Config, tmp_path: Path) -> None:
    path = tmp_path / "benchmarks/trim_epoch/llama-7b/sciq/trim_paper/drop_02.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("s\tmax_rss\n100\t1\n")
    path.with_name("drop_04.tsv").write_text("s\tmax_rss\n50\t1\n")
    estimate = plan.Estimate(paper.model_copy(update={"results": str(tmp_path)}))
    assert estimate.seconds(job("trim_epoch", f"{CHAIN}/state_32/epoch.json")) == 75
    assert estimate.guessed == 0


def test_a_chain_cannot_be_shortened_by_more_machines(paper: Config) -> None:
    files = [("trim_epoch", f"{CHAIN}/state_{drop:02d}/epoch.json") for drop in (2, 4)]
    jobs = plan.jobs_of(
        pending(*files, ("full_ft", "r/models/llama-7b/sciq/full_ft/training.json"))
    )
    for processes, hours in ((1, "3.00"), (4, "12")):
        estimate = plan.Estimate(with_compute(paper, processes=processes))
        estimate.seconds = lambda job: 3600.0
        for parallel, wall in ((1, "3.0 h"), (2, "2.0 h"), (8, "2.0 h")):
            line = estimate.line("x", plan.waits(paper, jobs), parallel * processes)
            assert line[:4] == ("x", "3", hours, wall)
    # Three jobs of four GPUs on one: they run on four, one after the other.
    assert estimate.line("x", plan.waits(paper, jobs), 1)[3] == "3.0 h"


def test_the_longest_path_is_that_of_all_that_wait_for_one_another(paper: Config) -> None:
    """Our recipe begins with a teacher: fetch, fine-tune, teach, two epochs, settle, compress,
    evaluate. (Our config for the paper's models has no such chain; the default has.)"""
    config = configuration("config").model_copy(update={"results": "nowhere"})
    base, made = "r/models/smollm2-135m", "sciq/trim_ours"
    compressed = f"{base}/{made}/drop_06+awq_int4"
    task = next(iter(config.tested["sciq"].tests))
    files = [
        ("fetch_model", f"{base}/base/pretrained/manifest.json"),
        ("scan", "r/scans/smollm2-135m/sciq.json"),
        ("full_ft", f"{base}/sciq/full_ft/manifest.json"),
        ("teach", "r/teachers/smollm2-135m/sciq.safetensors"),
        ("trim_epoch", f"{base}/{made}/state_00/epoch.json"),
        ("trim_epoch", f"{base}/{made}/state_06/epoch.json"),
        ("settle_kept", f"{base}/{made}/drop_06/manifest.json"),
        ("compress", f"{compressed}/manifest.json"),
        ("evaluate_sciq", f"r/eval/smollm2-135m/{made}/drop_06+awq_int4/{task}.json"),
        ("evaluate_sciq", f"r/eval/smollm2-135m/base/pretrained/{task}.json"),
    ]
    jobs = plan.jobs_of(pending(*files))
    waits = plan.waits(config, jobs)
    at = {(job.rule, str(job.place.recipe)): job for job in jobs}
    order = [
        at[key] for key in at if key not in (("scan", "None"), ("evaluate_sciq", "pretrained"))
    ]
    order.sort(key=lambda job: [rule for rule, _ in files].index(job.rule))
    estimate = plan.Estimate(config)
    estimate.seconds = lambda job: 3600.0
    assert len(order) == 8 and estimate.longest(waits) == 8 * 3600
    assert waits[at["fetch_model", "pretrained"]] == set()
    assert waits[at["scan", "None"]] == {at["fetch_model", "pretrained"]}
    assert waits[at["teach", "None"]] == {at["full_ft", "full_ft"]}
    epochs = [at["trim_epoch", f"trim_ours/state_{drop}"] for drop in ("00", "06")]
    assert at["teach", "None"] in waits[epochs[0]] and epochs[0] in waits[epochs[1]]
    # The longer half of the path is what more machines cannot shorten.
    assert estimate.line("x", waits, 99)[3] == "8.0 h"
    assert estimate.by_model(jobs) == {config.models["smollm2-135m"].label: estimate.hours(jobs)}


@pytest.mark.slow
def test_table_2_of_llama_7b_takes_no_more_than_300_a100_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All documents, two drops an epoch, on A100 of 80 GB at 40% of their 16-bit peak."""
    monkeypatch.chdir(tmp_path)
    file = Path(plan.asked.PROJECT, "config/paper.yaml")
    config = configuration("paper")
    jobs = plan.jobs_of(plan.summary_of("table2", [file], ["results=results"]))
    estimate = plan.Estimate(config)
    name, kind = gpus.kind_of(config)
    assert (name, kind.rate, gpus.COMPUTE_REACHED) == ("A100-SXM4-80GB", 312e12, 0.40)
    assert config.main.step == 2 and config.trim.documents is None
    rules = {job.rule for job in jobs if job.place and job.place.model == "llama-7b"}
    assert {"full_ft", "trim_epoch", "settle_kept", "compress", "evaluate_sciq"} <= rules
    hours = estimate.by_model(jobs)
    assert 50 < hours["LLaMA-7B"] <= 300, hours
    assert sum(hours.values()) == pytest.approx(estimate.hours(jobs), rel=0.01)
    # With machines enough, the longest path is what is left; no job of it waits for itself.
    waits = plan.waits(config, jobs)
    longest = estimate.longest(waits)
    assert max(map(estimate.seconds, jobs)) < longest < 3600 * estimate.hours(jobs)


def test_hours_move_with_what_they_rest_on(paper: Config) -> None:
    files = [("trim_epoch", f"{CHAIN}/drop_{drop:02d}/epoch.json") for drop in (2, 4)]
    files += [("full_ft", "r/models/llama-13b/sciq/full_ft/training.json")]
    jobs = plan.jobs_of(pending(*files))
    head, *rows = plan.sensitivity(paper, jobs)
    assert "A100-SXM4-80GB" in head and "300 GB/s" in head
    shown = plan.in_words(plan.Estimate(paper).hours(jobs))
    hours = {}
    for row in rows:
        cells = re.findall(r"(\S[^:]*): ([\d.,]+)", row[34:])
        hours[row[:34].strip(), len(hours)] = [float(value.replace(",", "")) for _, value in cells]
        assert shown in [value for _, value in cells], row
    assert all(len(set(values)) > 1 for values in hours.values()), hours


def test_gpus_count_by_the_processes_of_a_task(paper: Config) -> None:
    """LLaMA-7B: a chain takes one, full fine-tuning four."""
    estimate = plan.Estimate(paper)
    for file, rule, count in (
        (f"{CHAIN}/state_02/epoch.json", "trim_epoch", 1),
        ("r/models/llama-7b/sciq/trim_both_r1/state_02/epoch.json", "trim_epoch", 4),
        ("r/models/llama-7b/sciq/full_ft/training.json", "full_ft", 4),
    ):
        one = job(rule, file)
        assert estimate.units(one) == count
        assert estimate.hours({one}) == pytest.approx(count * estimate.seconds(one) / 3600)


def test_what_a_teacher_says_takes_its_place_on_the_disk(paper: Config) -> None:
    """Two bytes for each number of the states of a domain's tokens; nothing of answers alone."""
    told = job("teach", "r/teachers/llama-7b/sciq.safetensors")

    def bytes_of(hidden: float) -> float:
        ours = paper.recipes["ours"]
        assert ours.teacher is not None
        taught = ours.model_copy(
            update={"teacher": ours.teacher.model_copy(update={"hidden": hidden})}
        )
        return plan.Estimate(paper.model_copy(update={"recipes": {"paper": taught}})).bytes(told)

    documents = {name: paper.tested[name].expected for name in paper.domains}
    tokens = max(one.train * demand.trained_tokens(one) for one in documents.values())
    assert bytes_of(0) == 0 and bytes_of(64) == pytest.approx(2 * tokens * 4096, rel=0.02)
