"""Seconds of jobs: how they grow with what is done, and what jobs of the kept run really took."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from configurations import KEPT, configuration, kept_configuration, with_compute

from trimllm.base.files import read_json
from trimllm_paper import demand, duration, gpus
from trimllm_paper.config import Config
from trimllm_paper.recipe import PRETRAINED, place_of

HUB = SimpleNamespace(hub="owner/name")
MODEL = SimpleNamespace(parameters=1_000_000_000, blocks=20, storage_dtype="bfloat16", source=HUB)


@pytest.fixture
def paper() -> Config:
    return configuration("paper")


def test_weights_on_the_disk_are_read_for_every_batch_of_rows(paper: Config) -> None:
    model, sizes = paper.models["llama-7b"], SimpleNamespace(train=1000, test=300, tokens=100)
    disk = with_compute(paper, weights_on="disk")
    whole = 2 * model.parameters / duration.ASSUMED.disk
    # 30,000 tokens of which 16,384 are evaluated at once; 5,000 of 8,192.
    for task, times in (("evaluate", 2), ("scan", 1), ("trim", 1)):
        found = duration.spent(task, model, disk, expected=sizes)
        assert found.pop("read") == pytest.approx(times * whole)
        assert found == duration.spent(task, model, paper, expected=sizes)


def test_seconds_grow_with_what_is_done(paper: Config) -> None:
    alone = with_compute(paper, processes=1)
    sizes = SimpleNamespace(train=1000, test=100, tokens=100)

    def seconds(task: str, config: Config = alone, **options: object) -> float:
        return duration.seconds(task, MODEL, config, expected=sizes, **options)

    full = seconds("full_ft")
    assert full > seconds("sparse_ft", ratio=0.5) > seconds("sparse_ft")
    assert seconds("trim") > seconds("trim", kept=0.5) > duration.START
    # Full fine-tuning: six operations a parameter and token, two epochs.
    kind, assumed = gpus.KINDS["A100-SXM4-80GB"], duration.ASSUMED
    work = 6 * MODEL.parameters * 1000 * 100 * 2 / (assumed.compute * kind.rate)
    slow = {"assumed": replace(assumed, launch=0.0), "expected": sizes}
    assert duration.spent("full_ft", MODEL, alone, **slow)["train"] == pytest.approx(work)
    # Small batches wait for the host: three times forward, block by block.
    hosted = 2 * 1000 / 4 * 3 * MODEL.blocks * assumed.launch
    assert duration.spent("full_ft", MODEL, alone, expected=sizes)["train"] == pytest.approx(hosted)
    # Four GPUs share the work, and pass each other the weights.
    four = with_compute(paper, processes=4)
    shared = duration.spent("full_ft", MODEL, four, **slow)
    assert shared["train"] == pytest.approx(work / 4)
    # The 8 batches of a step as one: 16-bit weights from three others forward and backward, and
    # float32 gradients.
    each, steps = (2 + 2 + 4) * MODEL.parameters * 3 / 4, math.ceil(2 * 1000 / 32)
    assert shared["gather"] == pytest.approx(steps * each / (assumed.link * kind.link))
    slower = gpus.KINDS["A100-PCIe-80GB"]
    by_pcie = duration.spent("full_ft", MODEL, four, kind=slower, **slow)
    assert by_pcie["gather"] == pytest.approx(shared["gather"] * kind.link / slower.link)
    assert seconds("evaluate", tests=3) == seconds("evaluate")  # 100 documents in all
    assert seconds("full_ft", prepared=500) < full


@pytest.mark.parametrize(
    ("documents", "known", "passes"),
    [(None, 5000, 3), (256, 1208, 7), (256, 1280, 7), (256, 1281, 8), (256, 5000, 12), (8, 2, 3)],
)
def test_all_documents_are_seen_before_patience_begins(
    paper: Config, documents: int | None, known: int, passes: int
) -> None:
    told = paper.finetune.model_copy(update={"documents": documents, "epochs": 12, "patience": 2})
    assert duration.passes_expected(told, known) == passes


def test_free_answers_are_generated_a_token_after_the_other() -> None:
    """Each of 40 tokens reads all weights, once for as many of the 100 questions as are answered at
    once: so many prompts of the longest, thrice the mean, fit into 2,048 tokens."""
    config = kept_configuration(KEPT.with_name("reference_answers"))
    config = with_compute(config, device="cpu", threads=1, dtype="float32")
    config = config.model_copy(
        update={"evaluate": config.evaluate.model_copy(update={"answer_tokens": 40})}
    )
    found = duration.spent("evaluate", MODEL, config, expected=SimpleNamespace(test=500))
    mean = max(config.tested[name].expected.tokens for name in config.domains)
    times = math.ceil(100 / (2048 // (3 * mean)))
    assert 10 < times < 100
    reading = times * 40 * 4 * MODEL.parameters / duration.CORE_MEMORY
    products = 100 * 40 * 2 * MODEL.parameters / duration.CORE_32
    assert found.pop("generate") == pytest.approx(reading + products)
    chosen = with_compute(configuration("smoke"), device="cpu", threads=1, dtype="float32")
    assert found.keys() == duration.spent("evaluate", MODEL, chosen).keys()


def test_a_forked_job_has_nothing_to_import() -> None:
    config = with_compute(configuration("smoke"), device="cpu")

    def start(task: str, **compute: object) -> float:
        return duration.spent(task, MODEL, with_compute(config, **compute))["start"]

    assert start("trim") == start("evaluate") == duration.FORKED_START < duration.START
    assert start("trim", forkserver=False) == start("fetch") == duration.START
    # Several processes import for themselves.
    assert start("trim", processes=2) == 2 * duration.START


@pytest.mark.parametrize("name", [field.name for field in fields(duration.Assumed)])
def test_time_moves_with_everything_that_it_is_said_to_rest_on(paper: Config, name: str) -> None:
    four = with_compute(paper, processes=4)

    def hours(factor: float) -> float:
        value = factor * getattr(duration.ASSUMED, name)
        how = {"assumed": replace(duration.ASSUMED, **{name: value})}
        tasks = ("full_ft", "trim", "evaluate", "measure")
        return sum(duration.seconds(task, MODEL, four, **how) for task in tasks)

    more, less = (2.0, 0.5) if name in ("start", "launch") else (0.5, 2.0)
    assert hours(more) > hours(1) > hours(less) or (name == "launch" and hours(more) > hours(1))


def test_gradients_are_passed_on_after_every_pass(paper: Config) -> None:
    """FSDP reduces them in each backward pass, however many make a step."""
    seven, found = paper.models["llama-7b"], []
    for accumulation in (1, 2):
        finetune = paper.finetune.model_copy(update={"gradient_accumulation": accumulation})
        two = with_compute(paper.model_copy(update={"finetune": finetune}), processes=2)
        batches = demand.shared("full_ft", seven, two).batches
        spent = duration.spent("full_ft", seven, two, prepared=8000)
        found.append(spent["gather"] * batches)
    assert found[0] == pytest.approx(found[1])


def test_a_model_is_downloaded_unpacked_or_copied(paper: Config) -> None:
    smoke, copied = configuration("smoke"), duration.ASSUMED.disk
    (wheel,), hub = smoke.models.values(), paper.models["llama-7b"]
    folder = hub.model_copy(update={"source": SimpleNamespace(directory="a/folder")})
    mirrored = paper.model_copy(update={"mirror": "a/mirror"})
    for model, config, rate in (
        (wheel, smoke, duration.UNPACKED),
        (hub, paper, duration.DOWNLOAD),
        (hub, mirrored, copied),
        (folder, paper, copied),
    ):
        found = duration.spent("fetch", model, config)["fetch"]
        assert found == pytest.approx(demand.stored_bytes(model) / rate)


def test_what_is_outside_of_the_blocks_stays_and_is_passed_on(paper: Config) -> None:
    """Of half of the units half of what lies inside: read, trained and gathered."""
    model, four = paper.models["llama-7b"], with_compute(paper, processes=4)
    _, block, outside = demand.shape(model)
    share = (outside + model.blocks * block / 2) / model.parameters
    whole, half = (duration.spent("trim", model, four, kept=kept) for kept in (1.0, 0.5))
    for part in ("load", "save", "gather", "update"):
        assert half[part] == pytest.approx(share * whole[part]), part


def kept_jobs(config: Config) -> dict[str, list[tuple[float, float]]]:
    """Kind of job -> (seconds that a job of the kept run took, seconds that are expected)."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def expected(task: str, path: Path, tested: str = "", **more: object) -> dict[str, float]:
        place = place_of(path)
        model, recipe = config.models[place.model], place.recipe
        return duration.spent(
            task,
            model,
            config,
            kept=1 - (recipe.dropped if recipe else 0) / model.units,
            expected=getattr(config.tested.get(tested or place.domain), "expected", None),
            compressor=recipe and recipe.compressor,
            **more,
        )

    def add(task: str, path: Path, wall: float, parts: dict[str, float]) -> None:
        # A job's own clock runs when imports are done.
        took = sum(seconds for what, seconds in parts.items() if what != "start")
        found[task].append((wall, took))

    evaluations: dict[tuple[str, ...], list[tuple[Path, dict]]] = defaultdict(list)
    for path in (KEPT / "eval").rglob("*.json"):
        content, place = read_json(path), place_of(path)
        job = (place.model, place.domain, str(place.recipe), content["tested"])
        evaluations[job].append((path, content))
    for (*_, tested), files in evaluations.items():  # one job wrote them, and says so in each
        path, content = files[0]
        wall = max(content["provenance"]["wall_seconds"] for _, content in files)
        add("evaluate", path, wall, expected("evaluate", path, tested, tests=len(files)))
    for path in (KEPT / "models").rglob("manifest.json"):
        recipe = place_of(path).recipe
        task = {PRETRAINED: "fetch", "trim": "settle"}.get(recipe.base, recipe.base)
        task = "compress" if recipe.compressor else task
        wall = read_json(path)["provenance"]["wall_seconds"]
        record, settle = path.with_name("training.json"), 0
        if task == "settle":
            if recipe.name not in config.recipes:  # of a chain that Tables 3 and 6 derive, or none
                continue
            settle = config.recipes[recipe.name].settle
        parts = expected(task, path, settle=settle)
        if record.is_file():  # held-back documents may have ended them sooner or later
            known = config.domain_specs[place_of(path).domain].expected.train
            planned = settle or duration.passes_expected(config.finetune, known)
            share = len(read_json(record)["passes"]) / planned
            parts |= {what: share * parts[what] for what in ("train", "update", "held back")}
        add(task, path, wall, parts)
    for path in (KEPT / "models").rglob("epoch.json"):  # most have no manifest any more
        if path.with_name("manifest.json").is_file():
            continue
        record = read_json(path)
        seconds, parts = record["seconds"], expected("trim", path, ratio=record["ratio"])
        parts = {what: parts[what] for what in ("scan", "train", "update")}
        if not seconds["scan"]:  # another job's
            del parts["scan"]
        add("trim", path, sum(seconds.values()), parts)
    for path in (KEPT / "scans").rglob("*.json"):
        wall = read_json(path)["provenance"]["wall_seconds"]
        add("scan", path, wall, expected("scan", path))
    return found


def test_the_model_of_time_is_right_about_the_kept_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two cores with 16-bit products, where the kept run was made."""
    monkeypatch.setattr(duration, "cores_take_16_bits", lambda dtype: True)
    jobs = kept_jobs(kept_configuration())
    assert {len(jobs[task]) > 1 for task in jobs if task != "fetch"} == {True}
    ratios = {
        task: sum(model for _, model in pairs) / sum(real for real, _ in pairs)
        for task, pairs in jobs.items()
    }
    every = [pair for pairs in jobs.values() for pair in pairs]
    whole = sum(model for _, model in every) / sum(real for real, _ in every)
    assert 0.75 < whole < 1.25, (whole, ratios)
    assert all(0.65 < ratio < 1.5 for ratio in ratios.values()), ratios
