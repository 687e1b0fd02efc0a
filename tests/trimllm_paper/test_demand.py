"""Memory and time of jobs: right for models whose sizes are known, and what jobs really took."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from configurations import ROOT, configuration, with_compute

from trimllm.base.files import read_json
from trimllm_paper import demand, gpus
from trimllm_paper.config import Config, load, read_yaml
from trimllm_paper.config.models import LoraEntry
from trimllm_paper.recipe import PRETRAINED, place_of

# hidden_size and intermediate_size of the published models.
SHAPES = {"llama-7b": (4096, 11008), "llama-13b": (5120, 13824)}
KEPT = ROOT / "results/reference"
MODEL = SimpleNamespace(parameters=1_000_000_000, blocks=20, storage_dtype="bfloat16")


@pytest.fixture
def paper() -> Config:
    return configuration("paper")


@pytest.mark.parametrize("name", SHAPES)
def test_the_shape_of_a_model_follows_from_its_size(paper: Config, name: str) -> None:
    width, inner = SHAPES[name]
    found, block, outside = demand.shape(paper.models[name])
    assert found == pytest.approx(width, rel=0.03)
    assert block == pytest.approx(4 * width**2 + 3 * width * inner, rel=0.06)
    assert outside > 2 * 32000 * width


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("task, share", [("full_ft", 1.0), ("sparse_ft", 0.25)])
def test_a_process_holds_its_share_of_what_one_holds(
    paper: Config, name: str, task: str, share: float
) -> None:
    model = paper.models[name]

    def parts(**compute: object) -> tuple[float, float]:
        gpu = demand.memory(task, model, with_compute(paper, **compute), batches=1).gpu
        return gpu["weights"] + gpu["gradients and moments"], sum(gpu.values())

    held, _ = parts(processes=1)
    # AdamW in float32 over 16-bit products: 16 bytes a trained parameter, 2 a frozen one
    outside = demand.shape(model)[2]
    blocks = model.parameters - outside
    assert held == pytest.approx(blocks * (16 * share + 2 * (1 - share)) + 4 * outside)
    for count in (2, 4, 8):
        shared, whole = parts(processes=count)
        assert shared * count == pytest.approx(held)
        nothing, rest = parts(processes=count, offload=True)
        assert nothing == 0 and rest == pytest.approx(whole - held / count)


def test_moments_in_eight_bits_halve_what_is_trained(paper: Config) -> None:
    finetune = paper.finetune.model_copy(update={"optimizer": "adamw_8bit"})
    small = paper.model_copy(update={"finetune": finetune})
    model = paper.models["llama-7b"]
    for task, share in (("full_ft", 1.0), ("trim", 0.25)):
        alone = [with_compute(one, processes=1) for one in (paper, small)]
        in_32, in_8 = (demand.memory(task, model, one).gpu for one in alone)
        # Gradients of 4 bytes; two moments of 4 bytes or of 1, and of these a scale for each 256.
        trained = share * (model.parameters - demand.shape(model)[2])
        assert in_32.pop("gradients and moments") == pytest.approx(12 * trained)
        assert in_8.pop("gradients and moments") == pytest.approx(6 * trained, rel=0.01)
        assert in_32 == in_8
        slow, fast = (demand.spent(task, model, one)["update"] for one in alone)
        assert fast < slow
    # Nothing shards them.
    one, several = (demand.processes("full_ft", model, config) for config in (small, paper))
    assert one == 1 < several


def with_lora(config: Config, **compute: object) -> Config:
    """One process that trains adapters in place of all weights."""
    finetune = config.finetune.model_copy(update={"lora": LoraEntry(rank=16)})
    changed = config.model_copy(update={"finetune": finetune})
    return with_compute(changed, processes=None, weights_on="disk", **compute)


@pytest.mark.parametrize("name", SHAPES)
def test_adapters_rest_on_frozen_weights_in_16_bits(paper: Config, name: str) -> None:
    model, (width, inner) = paper.models[name], SHAPES[name]
    lora = with_lora(paper)
    # Rows and columns of four matrices of attention and three of the MLP.
    sizes = 4 * (width + width) + 3 * (width + inner)
    known = 16 * model.blocks * sizes
    assert demand.adapters(model, lora) == pytest.approx(known, rel=0.03)
    outside = demand.shape(model)[2]
    blocks = model.parameters - outside
    gpu = demand.memory("full_ft", model, lora).gpu
    assert gpu["weights"] == pytest.approx(2 * blocks + 4 * (outside + known), rel=0.01)
    assert gpu["gradients and moments"] == pytest.approx(12 * known, rel=0.03)
    # Nothing else is trained so, and what is trained so is trained in one process.
    for task in ("sparse_ft", "trim", "settle"):
        plain = with_compute(paper, processes=None, weights_on="disk")
        assert demand.memory(task, model, lora) == demand.memory(task, model, plain)
    assert demand.processes("full_ft", model, lora) == 1 < demand.processes("full_ft", model, paper)
    # Two thirds of the operations of a parameter and token, and a share of the update's bytes.
    fast = {"assumed": replace(demand.ASSUMED, launch=0.0)}
    full, less = (
        demand.spent("full_ft", model, one, **fast)
        for one in (with_compute(paper, processes=1), lora)
    )
    assert less["train"] == pytest.approx(full["train"] * 2 / 3, rel=0.01)
    assert less["update"] < full["update"]


def test_what_is_read_to_the_device_must_have_room_there_before_it_is_frozen(
    paper: Config,
) -> None:
    """A chain of LLaMA-7B at r = 1/8: 27 GB in float32, unless its weights wait elsewhere."""
    model = paper.models["llama-7b"]
    finetune = paper.finetune.model_copy(update={"batch_size": 1, "optimizer": "adamw_8bit"})
    small = paper.model_copy(update={"finetune": finetune})
    there, elsewhere = (
        demand.memory("settle", model, with_compute(small, weights_on=place), 0.125).gpu_gib
        for place in ("device", "disk")
    )
    assert elsewhere < there == pytest.approx((4 * model.parameters + demand.OVERHEAD) / 2**30)
    # A teacher says what it says as a whole.
    taught = (
        demand.memory("teach", model, with_compute(small, weights_on=p)) for p in ("device", "disk")
    )
    assert next(taught).gpu == next(taught).gpu


def test_gradient_checkpointing_takes_time_for_memory(paper: Config) -> None:
    model = paper.models["llama-7b"]
    how = {"processes": 1, "weights_on": "disk"}
    plain, again = (
        with_compute(paper, **how, gradient_checkpointing=told) for told in (False, True)
    )
    kept, least = (demand.memory("sparse_ft", model, one, 0.125).gpu for one in (plain, again))
    width, tokens = demand.shape(model)[0], 4 * demand.LONGEST
    assert kept["activations"] == pytest.approx(80 * width * 32 * tokens)
    assert least["activations"] == pytest.approx((4 * 32 + 80) * width * tokens)
    assert {**kept, "activations": 0} == {**least, "activations": 0}
    fast = {"assumed": replace(demand.ASSUMED, launch=0.0), "ratio": 0.125}
    short, long = (demand.spent("sparse_ft", model, one, **fast)["train"] for one in (plain, again))
    assert long == pytest.approx(short * 3.125 / 2.125)
    by_itself = with_compute(paper, processes=None, gradient_checkpointing=True)
    assert demand.processes("full_ft", model, by_itself) == 1


def test_weights_on_the_disk_are_read_for_every_batch_of_rows(paper: Config) -> None:
    model, sizes = paper.models["llama-7b"], SimpleNamespace(train=1000, test=300, tokens=100)
    disk = with_compute(paper, weights_on="disk")
    whole = 2 * model.parameters / demand.ASSUMED.disk
    # 30,000 tokens of which 16,384 are evaluated at once; 5,000 of 8,192.
    for task, times in (("evaluate", 2), ("scan", 1), ("trim", 1)):
        found = demand.spent(task, model, disk, expected=sizes)
        assert found.pop("read") == pytest.approx(times * whole)
        assert found == demand.spent(task, model, paper, expected=sizes)


def test_host_memory_follows_streaming_sharing_and_offload(paper: Config) -> None:
    model = paper.models["llama-13b"]

    def need(task: str, **compute: object) -> int:
        return demand.memory(task, model, with_compute(paper, **compute)).host_mib

    whole = model.parameters * 2 >> 20
    assert need("scan", weights_on="disk") < 0.3 * whole < need("scan", weights_on="host")
    assert need("scan", weights_on="host") < need("scan", weights_on="device")
    # on GPUs the host holds what the first process writes; with offload or without GPUs everything
    assert whole < need("full_ft", processes=4) < need("full_ft", processes=4, offload=True)
    assert need("full_ft", processes=4, offload=True) == need("full_ft", processes=4, device="cpu")
    assert need("trim", processes=4, offload=True) < need("full_ft", processes=4, offload=True)
    # gradients and moments lie on the GPU, if there is one
    assert need("full_ft", processes=1) < need("full_ft", processes=1, device="cpu")
    # what is not shared does not change
    assert need("evaluate", processes=4) == need("evaluate")


def test_a_job_without_a_gpu_asks_for_none() -> None:
    config = with_compute(configuration("config"), device="cpu")
    model = config.models["smollm2-135m"]
    assert not any(demand.memory(task, model, config).gpu for task in demand.TASKS)
    asked = [demand.memory(task, model, config).host_mib for task in ("scan", "trim", "full_ft")]
    assert asked == sorted(asked) and len(set(asked)) == 3


def test_seconds_grow_with_what_is_done(paper: Config) -> None:
    alone = with_compute(paper, processes=1)
    sizes = SimpleNamespace(train=1000, test=100, tokens=100)

    def seconds(task: str, config: Config = alone, **options: object) -> float:
        return demand.seconds(task, MODEL, config, expected=sizes, **options)

    full = seconds("full_ft")
    assert full > seconds("sparse_ft", ratio=0.5) > seconds("sparse_ft")
    assert seconds("trim") > seconds("trim", kept=0.5) > demand.START
    # Full fine-tuning: six operations a parameter and token, two epochs.
    kind, assumed = gpus.KINDS["A100-SXM4-80GB"], demand.ASSUMED
    work = 6 * MODEL.parameters * 1000 * 100 * 2 / (assumed.compute * kind.rate)
    slow = {"assumed": replace(assumed, launch=0.0), "expected": sizes}
    assert demand.spent("full_ft", MODEL, alone, **slow)["train"] == pytest.approx(work)
    # Small batches wait for the host: three times forward, block by block.
    hosted = 2 * 1000 / 4 * 3 * MODEL.blocks * assumed.launch
    assert demand.spent("full_ft", MODEL, alone, expected=sizes)["train"] == pytest.approx(hosted)
    # Four GPUs share the work, and pass each other the weights.
    four = with_compute(paper, processes=4)
    shared = demand.spent("full_ft", MODEL, four, **slow)
    assert shared["train"] == pytest.approx(work / 4)
    # The 8 batches of a step as one: 16-bit weights from three others forward and backward, and
    # float32 gradients.
    each, steps = (2 + 2 + 4) * MODEL.parameters * 3 / 4, math.ceil(2 * 1000 / 32)
    assert shared["gather"] == pytest.approx(steps * each / (assumed.link * kind.link))
    slower = gpus.KINDS["A100-PCIe-80GB"]
    by_pcie = demand.spent("full_ft", MODEL, four, kind=slower, **slow)
    assert by_pcie["gather"] == pytest.approx(shared["gather"] * kind.link / slower.link)
    assert seconds("evaluate", tests=3) == seconds("evaluate")  # 100 documents in all
    assert seconds("full_ft", prepared=500) < full


@pytest.mark.parametrize("name", [field.name for field in fields(demand.Assumed)])
def test_time_moves_with_everything_that_it_is_said_to_rest_on(paper: Config, name: str) -> None:
    four = with_compute(paper, processes=4)

    def hours(factor: float) -> float:
        value = factor * getattr(demand.ASSUMED, name)
        how = {"assumed": replace(demand.ASSUMED, **{name: value})}
        tasks = ("full_ft", "trim", "evaluate", "measure")
        return sum(demand.seconds(task, MODEL, four, **how) for task in tasks)

    more, less = (2.0, 0.5) if name in ("start", "launch") else (0.5, 2.0)
    assert hours(more) > hours(1) > hours(less) or (name == "launch" and hours(more) > hours(1))


def test_the_fewest_gpus_that_do_train_together(paper: Config) -> None:
    """A chain of LLaMA-7B on one card of 80 GB, its full fine-tuning on two, 13B on four."""

    def count(task: str, name: str, ratio: float | None = None, **compute: object) -> int:
        return demand.processes(task, paper.models[name], with_compute(paper, **compute), ratio)

    assert [count("trim", "llama-7b", ratio) for ratio in (0.125, 0.25, 0.5, 1)] == [1, 1, 2, 2]
    assert [count("full_ft", name) for name in ("opt-1.3b", "llama-7b", "llama-13b")] == [1, 2, 4]
    assert count("trim", "llama-7b", gpu="A100-SXM4-40GB") == 2
    assert count("full_ft", "llama-7b", gpu="H200-141GB") == 1
    # Told ones are taken, for all or by task; what is not shared and what runs on CPUs is alone.
    assert count("trim", "llama-7b", processes=4) == 4
    by_task = {"full_ft": 4}
    assert count("full_ft", "llama-7b", processes=by_task) == 4
    assert count("trim", "llama-7b", processes=by_task) == 1
    assert count("evaluate", "llama-7b", processes=4) == 1
    assert count("full_ft", "llama-13b", device="cpu") == 1
    # What is chosen fits, with room for what the allocator cannot use.
    for name, model in paper.models.items():
        for task in demand.TRAINING:
            need = demand.memory(task, model, paper)
            assert need.gpu_gib <= demand.FILLED * 80, (name, task)


def kept_jobs(config: Config) -> dict[str, list[tuple[float, float]]]:
    """Kind of job -> (seconds that a job of the kept run took, seconds that are expected)."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)

    def expected(task: str, path: Path, tested: str = "", **more: object) -> dict[str, float]:
        place = place_of(path)
        model, recipe = config.models[place.model], place.recipe
        return demand.spent(
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
        task = {PRETRAINED: "fetch", "trim": "trim (saved)"}.get(recipe.base, recipe.base)
        task = "compress" if recipe.compressor else task
        wall = read_json(path)["provenance"]["wall_seconds"]
        parts = expected(task.partition(" ")[0], path)
        record = path.with_name("training.json")
        if record.is_file() and not read_json(record).get("held_back"):
            parts.pop("held back", None)  # a run of before did not ask them
        add(task, path, wall, parts)
    for path in (KEPT / "models").rglob("epoch.json"):  # most have no manifest any more
        if path.with_name("manifest.json").is_file():
            continue
        seconds, parts = read_json(path)["seconds"], expected("trim", path)
        parts = {what: parts[what] for what in ("scan", "train", "update")}
        if not seconds["scan"]:  # another job's
            del parts["scan"]
        add("trim", path, sum(seconds.values()), parts)
    for path in (KEPT / "scans").rglob("*.json"):
        wall = read_json(path)["provenance"]["wall_seconds"]
        add("scan", path, wall, expected("scan", path))
    return found


def kept_configuration() -> Config:
    """That of the kept run, on a CPU."""
    file = KEPT / "config.yaml"
    return with_compute(load(read_yaml(file), [file]), device="cpu")


def test_the_model_of_time_is_right_about_the_kept_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two cores with 16-bit products, where the kept run was made."""
    monkeypatch.setattr(demand, "core_has_16_bits", lambda: True)
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


def test_memory_is_on_the_safe_side_of_the_kept_run() -> None:
    config = kept_configuration()
    tasks = {"scans": "scan", "full_ft": "full_ft", "sparse_ft": "sparse_ft", "trim": "trim"}
    peaks: dict[str, int] = defaultdict(int)
    for path in [*KEPT.glob("scans/**/*.json"), *KEPT.glob("models/**/manifest.json")]:
        recipe = place_of(path).recipe
        task = tasks.get(recipe.base if recipe else "scans")
        if task and not (recipe and recipe.compressor):
            peak = read_json(path)["provenance"]["peak_rss_bytes"] >> 20
            peaks[task] = max(peaks[task], peak)
    assert set(peaks) == set(tasks.values())
    for task, peak in peaks.items():
        asked = demand.memory(task, config.models["smollm2-135m"], config).host_mib
        assert peak < asked < 2.5 * peak, (task, peak, asked)


def test_gradients_are_passed_on_after_every_pass(paper: Config) -> None:
    """FSDP reduces them in each backward pass, however many make a step."""
    seven, found = paper.models["llama-7b"], []
    for accumulation in (1, 2):
        finetune = paper.finetune.model_copy(update={"gradient_accumulation": accumulation})
        two = with_compute(paper.model_copy(update={"finetune": finetune}), processes=2)
        batches = demand.together("full_ft", seven, two, None, 2)
        spent = demand.spent("full_ft", seven, two, prepared=8000)
        found.append(spent["gather"] * batches)
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize("name, ratio", [("llama-7b", 1.0), ("opt-6.7b", 1.0), ("llama-13b", 0.25)])
def test_several_processes_compute_longer_than_they_gather(name: str, ratio: float) -> None:
    """Batches of a step run as one where the GPUs hold them."""
    config = configuration("paper")
    model, task = config.models[name], "full_ft" if ratio == 1 else "trim"
    count = demand.processes(task, model, config, ratio)
    batches = demand.together(task, model, config, ratio, count)
    assert count > 1 and batches > 1 and config.finetune.gradient_accumulation % batches == 0
    found, alone = (
        demand.memory(task, model, config, ratio, count, n).gpu_gib for n in (batches, 1)
    )
    assert alone < found <= demand.FILLED * gpus.kind_of(config)[1].gib
    assert demand.memory(task, model, config, ratio).gpu_gib == found
    spent = demand.spent(task, model, config, ratio=ratio, prepared=100_000)
    assert spent["gather"] < spent["train"]
    changed = config.model_copy(
        update={"finetune": config.finetune.model_copy(update={"gradient_accumulation": 1})}
    )
    assert demand.together(task, model, changed, ratio, count) == 1
    assert demand.together(task, model, config, ratio, 1) == 1
