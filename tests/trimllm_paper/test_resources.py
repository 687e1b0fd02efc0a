"""Memory, GPUs and seconds of jobs, and what is refused before a run starts."""

from pathlib import Path
from typing import Any

import pytest
from configurations import configuration, with_compute

from trimllm_paper import gpus, plan, resources
from trimllm_paper.config import Config
from trimllm_paper.plan import Job
from trimllm_paper.resources import GIB, Resources

TRIM = {"model": "llama-7b", "domain": "sciq", "name": "paper", "drop": "02"}
TRIM_SMALL = {"model": "smollm2-135m", "domain": "sciq", "name": "ours", "drop": "30"}


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU of this machine plays a part; cores have 16 bits."""
    monkeypatch.setattr(gpus, "here", lambda: ())
    monkeypatch.setattr(resources, "fast_dtype", lambda device: "bfloat16")


def with_finetune(config: Config, **changes: Any) -> Config:
    return config.model_copy(update={"finetune": config.finetune.model_copy(update=changes)})


def test_a_target_is_no_job() -> None:
    assert resources.task_of("export") == "export" and resources.task_of("exports") is None


@pytest.mark.parametrize(
    ("gpu", "full_ft", "trim"),
    [("A100-SXM4-80GB", 2, 1), ("A100-SXM4-40GB", 4, 2), ("H200-141GB", 1, 1)],
)
def test_the_fewest_gpus_that_hold_a_training(gpu: str, full_ft: int, trim: int) -> None:
    """LLaMA-7B: 27 GB of float32 weights, 81 GB of gradients and moments where all is trained."""
    of = Resources(with_compute(configuration("paper"), gpu=gpu))
    assert of.split("full_ft", TRIM).processes == full_ft
    assert of.split("trim", TRIM).processes == trim
    for task in ("full_ft", "trim"):
        assert of.memory(task, TRIM).gpu <= 0.95 * gpus.KINDS[gpu].gib * GIB


OVERLAYS = ("overlays/one_gpu_3b", "overlays/one_gpu_7b")


@pytest.mark.parametrize("overlays", [(), OVERLAYS[:1], OVERLAYS])
def test_a_gpu_of_24_gb_holds_its_configuration(overlays: tuple[str, ...]) -> None:
    """Every job on one GPU; from 3B on full fine-tuning does not fit without LoRA."""
    config = configuration("one_gpu", *overlays)
    (model,), room = config.models, 0.95 * 24 * GIB
    wildcards = {"model": model, "domain": "sciq", "name": "ours", "drop": "02"}
    tasks = {*resources.TASKS.values(), "evaluate"} - {"measure", "fetch", "compress"}
    assert all(Resources(config).memory(task, wildcards).gpu < room for task in tasks)
    assert all(Resources(config).split(task, wildcards).processes == 1 for task in tasks)
    if config.finetune.lora:
        plain = Resources(with_finetune(config, lora=None))
        assert plain.memory("full_ft", wildcards).gpu > room


def test_memory_grows_with_attempts_and_trained_parameters() -> None:
    of = Resources(configuration("config"))
    first, second = (of.mem_mb("trim", TRIM_SMALL, attempt) for attempt in (1, 2))
    assert second == pytest.approx(1.5 * first, rel=0.01)
    paper, ours = (of.memory("trim", TRIM_SMALL | {"name": name}) for name in ("paper", "ours"))
    assert ours.host - paper.host > 0.5 * 12 * 134_515_008 * 0.75 / 2
    assert of.runtime("trim", TRIM_SMALL, 2) > of.runtime("trim", TRIM_SMALL)


def test_earlier_jobs_correct_the_formula_and_not_the_work(tmp_path: Path) -> None:
    """Twice as slow as expected on 256 documents: twice as slow on all, which are more."""
    config = configuration("config").model_copy(update={"results": str(tmp_path)})
    formula = Resources(config).formula("settle", TRIM_SMALL)
    file = tmp_path / "benchmarks/settle/smollm2-135m/sciq.tsv"
    file.parent.mkdir(parents=True)
    cells = [str(2 * formula), "settle", repr(TRIM_SMALL), repr({"formula": formula})]
    file.write_text("s\trule_name\twildcards\tresources\n" + "\t".join(cells) + "\n")
    corrected = Resources(config)
    assert corrected.seconds("settle", TRIM_SMALL) == pytest.approx(2 * formula)
    assert corrected.seconds("trim", TRIM_SMALL) == corrected.formula("trim", TRIM_SMALL)
    more = Resources(with_finetune(config, documents=512))
    assert more.seconds("settle", TRIM_SMALL) > 1.5 * corrected.seconds("settle", TRIM_SMALL)


def test_an_evaluation_is_planned_by_what_it_tests() -> None:
    job = Job("evaluate_lexglue", TRIM_SMALL | {"recipe": "full_ft"})
    assert plan.work_of(job)[1]["domain"] == "lexglue" != TRIM_SMALL["domain"]


def test_an_engine_is_planned_by_its_formats_three_of_transformers_and_one_of_vllm() -> None:
    of, job = Resources(configuration("config")), {"hardware": "cpu-x", "model": "smollm2-135m"}
    three, one = (of.formula("measure", job | {"engine": e}) for e in ("transformers", "vllm"))
    assert three == pytest.approx(3 * one) and one > of.formula("measure", job)


def refused(config: Config, *jobs: Job, here: bool = True) -> str:
    return "; ".join(plan.Plan(jobs, config).problems(here))


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    small = configuration("config")
    job = Job("trim_epoch", TRIM_SMALL)
    assert refused(small, job, Job("tables", {})) == ""
    monkeypatch.setattr(plan, "memory_bytes", lambda: 2 * GIB)
    assert "this machine has 2,048 MiB" in refused(small, job)
    assert refused(small, job, here=False) == ""


def test_what_a_gpu_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    paper, job = configuration("paper"), Job("full_ft", TRIM)
    monkeypatch.setattr(plan, "memory_bytes", lambda: 900 * GIB)
    monkeypatch.setattr(gpus, "here", lambda: (("NVIDIA A100-SXM4-80GB", 80.0),))
    assert "needs 2 GPUs, this machine has 1" in refused(paper, job)
    assert refused(paper, Job("trim_epoch", TRIM)) == ""
    alone = with_compute(paper, processes=1)
    assert "GiB on each GPU of 80 GiB" in refused(alone, job)


def test_answers_and_exports_read_a_few_documents() -> None:
    of = Resources(configuration("config"))
    place = {"model": "smollm2-135m", "recipe": "full_ft"}
    for task in ("answers", "export"):
        assert of.formula(task, place) < 30 < of.formula("evaluate", place)
