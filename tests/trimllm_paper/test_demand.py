"""Memory of jobs and their processes: right for models of known sizes, safe for the kept run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from configurations import KEPT, configuration, kept_configuration, with_compute

from trimllm.base.files import read_json
from trimllm_paper import demand, duration, gpus
from trimllm_paper.config import Config
from trimllm_paper.config.models import LoraEntry
from trimllm_paper.recipe import place_of

# hidden_size and intermediate_size of the published models.
SHAPES = {"llama-7b": (4096, 11008), "llama-13b": (5120, 13824)}
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

    def parts(**compute: Any) -> tuple[float, float]:
        way = demand.Shared(compute["processes"])
        gpu = demand.memory(task, model, with_compute(paper, **compute), way=way).gpu
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
        alone = [
            with_compute(one, processes=1, gradient_checkpointing=False) for one in (paper, small)
        ]
        in_32, in_8 = (demand.memory(task, model, one).gpu for one in alone)
        # Gradients of 4 bytes; two moments of 4 bytes or of 1, and of these a scale for each 256.
        trained = share * (model.parameters - demand.shape(model)[2])
        assert in_32.pop("gradients and moments") == pytest.approx(12 * trained)
        assert in_8.pop("gradients and moments") == pytest.approx(6 * trained, rel=0.01)
        assert in_32 == in_8
        slow, fast = (duration.spent(task, model, one)["update"] for one in alone)
        assert fast < slow
    # Nothing shards them.
    one, several = (demand.shared("full_ft", model, config).count for config in (small, paper))
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
    assert (
        demand.shared("full_ft", model, lora).count
        == 1
        < demand.shared("full_ft", model, paper).count
    )
    # Two thirds of the operations of a parameter and token, and a share of the update's bytes.
    fast = {"assumed": replace(duration.ASSUMED, launch=0.0)}
    full, less = (
        duration.spent("full_ft", model, one, **fast)
        for one in (with_compute(paper, processes=1, gradient_checkpointing=False), lora)
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


def test_what_a_teacher_says_of_all_tokens_has_room() -> None:
    """Of the real CaseHOLD, 5,000 documents of 282 tokens, in 16 bits: states of width 576."""
    config = with_compute(configuration("real"), device="cpu", dtype="bfloat16")
    (model,) = config.models.values()
    ours = config.recipes["ours"]
    answers = ours.model_copy(update={"teacher": ours.teacher.model_copy(update={"hidden": 0.0})})
    without = config.model_copy(update={"recipes": {**config.recipes, "ours": answers}})
    fewer = config.trim.model_copy(update={"documents": 40})
    few = config.model_copy(update={"trim": fewer})
    all_of_it, least, some = (
        demand.memory("teach", model, one).host_mib for one in (config, without, few)
    )
    # Its width is guessed from its parameters.
    assert all_of_it - least == pytest.approx(5000 * 282 * 576 * 2 / demand.MIB, rel=0.25)
    # Two settling passes of 1,000 are then more than fifteen epochs of 40.
    assert (some - least) / (all_of_it - least) == pytest.approx(2000 / 5000, abs=0.01)


def test_gradient_checkpointing_takes_time_for_memory(paper: Config) -> None:
    model = paper.models["llama-7b"]
    how: dict[str, Any] = {"processes": 1, "weights_on": "disk"}
    plain, again = (
        with_compute(paper, **how, gradient_checkpointing=told) for told in (False, True)
    )
    kept, least = (demand.memory("sparse_ft", model, one, 0.125).gpu for one in (plain, again))
    width, tokens = demand.shape(model)[0], 4 * demand.LONGEST
    assert kept["activations"] == pytest.approx(80 * width * 32 * tokens)
    assert least["activations"] == pytest.approx((4 * 32 + 80) * width * tokens)
    assert {**kept, "activations": 0} == {**least, "activations": 0}
    fast = {"assumed": replace(duration.ASSUMED, launch=0.0), "ratio": 0.125}
    short, long = (
        duration.spent("sparse_ft", model, one, **fast)["train"] for one in (plain, again)
    )
    assert long == pytest.approx(short * 3.125 / 2.125)


def test_blocks_are_computed_again_where_that_saves_gpu_hours(paper: Config) -> None:
    def shared(
        task: str, name: str, ratio: float | None = None, **compute: object
    ) -> demand.Shared:
        return demand.shared(task, paper.models[name], with_compute(paper, **compute), ratio)

    # 13B on four: two batches at once, or all eight of a step, for which it gathers once.
    assert shared("full_ft", "llama-13b") == (4, 8, True)
    assert shared("full_ft", "llama-13b", gradient_checkpointing=False) == (4, 2, False)
    # 7B holds all eight as it is.
    assert shared("full_ft", "llama-7b") == (4, 8, False)
    # Over PCIe two gather less than four, and one not at all, where it holds a chain only so.
    assert shared("full_ft", "llama-7b", gpu="A100-PCIe-80GB") == (2, 8, True)
    assert shared("trim", "llama-7b", 0.5, gpu="A100-PCIe-80GB") == (1, 1, True)
    # Told ones are taken, and without GPUs nothing is short.
    assert shared("trim", "llama-7b", 0.25, gradient_checkpointing=True) == (1, 1, True)
    assert shared("full_ft", "llama-13b", device="cpu") == (1, 1, False)
    assert shared("evaluate", "llama-13b", gradient_checkpointing=True) == (1, 1, False)


def test_host_memory_follows_streaming_sharing_and_offload(
    paper: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = paper.models["llama-13b"]

    def need(task: str, **compute: object) -> int:
        return demand.memory(task, model, with_compute(paper, **compute)).host_mib

    whole = model.parameters * 2 >> 20
    assert need("scan", weights_on="disk") < 0.3 * whole < need("scan", weights_on="host")
    assert need("scan", weights_on="host") < need("scan", weights_on="device")
    # on GPUs the host holds what the first process writes; with offload or without GPUs everything
    assert whole < need("full_ft", processes=4) < need("full_ft", processes=4, offload=True)
    # Without GPUs it also holds what the backward pass needs in each process: 80 bytes a number of
    # the stream of documents of thrice the mean length, and logits, FinanceQA's answers being free.
    monkeypatch.setattr(demand, "cores_take_16_bits", lambda dtype: True)
    tokens = paper.finetune.batch_size * 3 * 282
    more = need("full_ft", processes=4, device="cpu") - need("full_ft", processes=4, offload=True)
    kept = tokens * (80 * 5120 * 40 + demand.LOGITS * 4 * demand.VOCABULARY)
    assert more == pytest.approx(kept / 2**20, rel=0.01)
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


def test_as_many_gpus_as_do_train_together(paper: Config) -> None:
    """A chain of LLaMA-7B on one A100 of 80 GB, its full fine-tuning on four: two would hold it."""

    def count(task: str, name: str, ratio: float | None = None, **compute: object) -> int:
        return demand.shared(task, paper.models[name], with_compute(paper, **compute), ratio).count

    assert [count("trim", "llama-7b", ratio) for ratio in (0.125, 0.25, 0.5, 1)] == [1, 1, 2, 4]
    assert [count("full_ft", name) for name in ("opt-1.3b", "llama-7b", "llama-13b")] == [1, 4, 4]
    assert [count("trim", name) for name in ("llama-7b", "llama-13b")] == [1, 2]
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


@pytest.mark.parametrize("gpu", sorted(gpus.KINDS))
@pytest.mark.parametrize("task, ratio", [("full_ft", None), ("trim", 0.25), ("trim", 1.0)])
def test_no_other_number_of_gpus_takes_fewer_gpu_hours(
    paper: Config, gpu: str, task: str, ratio: float | None
) -> None:
    """By the times of the plan, but for starts, among the numbers whose memory does."""
    most = demand.FILLED * gpus.KINDS[gpu].gib
    for name in ("llama-7b", "llama-13b", "opt-6.7b"):
        model, hours = paper.models[name], {}
        for count in (1, 2, 4):
            config = with_compute(paper, gpu=gpu, processes=count)
            if demand.memory(task, model, config, ratio).gpu_gib <= most:
                spent = duration.spent(task, model, config, ratio=ratio)
                hours[count] = count * (sum(spent.values()) - spent["start"])
        chosen = demand.shared(task, model, with_compute(paper, gpu=gpu), ratio).count
        assert not hours or hours[chosen] < 1.1 * min(hours.values()), (name, hours)


@pytest.mark.parametrize(
    ("name", "in_16"),
    [
        ("reference", True),
        ("reference_larger", True),
        ("reference_real", True),
        ("reference_answers", False),
    ],
)
def test_memory_is_on_the_safe_side_of_the_kept_runs(
    name: str, in_16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On processors with products in 16 bits, and free answers on one without."""
    monkeypatch.setattr(demand, "cores_take_16_bits", lambda dtype: in_16)
    kept = KEPT.parent / name
    config = kept_configuration(kept)
    tasks = {"scans": "scan", "full_ft": "full_ft", "sparse_ft": "sparse_ft", "trim": "trim"}
    peaks: dict[str, int] = defaultdict(int)
    for path in [*kept.glob("scans/**/*.json"), *kept.glob("models/**/manifest.json")]:
        recipe = place_of(path).recipe
        task = tasks.get(recipe.base if recipe else "scans")
        if task and not (recipe and recipe.compressor):
            peak = read_json(path)["provenance"]["peak_rss_bytes"] >> 20
            peaks[task] = max(peaks[task], peak)
    assert {"full_ft", "trim"} <= set(peaks)
    assert name != "reference" or set(peaks) == set(tasks.values())
    for path in kept.glob("eval/**/*.json"):
        peak = read_json(path)["provenance"]["peak_rss_bytes"] >> 20
        peaks["evaluate"] = max(peaks["evaluate"], peak)
    for task, peak in peaks.items():
        asked = demand.memory(task, config.models["smollm2-135m"], config).host_mib
        assert peak < asked < 2.5 * peak, (task, peak, asked)


def test_llama_13b_is_compressed_in_less_than_40_gb(paper: Config) -> None:
    """By the plan's own count, whatever the GPU; its 26 GB in 16 bits are the most of it."""
    need = demand.memory("compress", paper.models["llama-13b"], paper).gpu
    assert 26e9 < sum(need.values()) < 40e9


@pytest.mark.parametrize("name", ["llama-7b", "opt-6.7b", "llama-13b"])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 1.0])
def test_several_processes_compute_longer_than_they_gather(name: str, ratio: float) -> None:
    """Batches of a step run as one where the GPUs hold them."""
    config = configuration("paper")
    model, task = config.models[name], "full_ft" if ratio == 1 else "trim"
    way = demand.shared(task, model, config, ratio)
    if way.count == 1:
        return
    assert way.batches > 1 and config.finetune.gradient_accumulation % way.batches == 0
    found, alone = (
        demand.memory(task, model, config, ratio, one).gpu_gib
        for one in (way, way._replace(batches=1))
    )
    assert alone < found <= demand.FILLED * gpus.kind_of(config)[1].gib
    assert demand.memory(task, model, config, ratio).gpu_gib == found
    spent = duration.spent(task, model, config, ratio=ratio, prepared=100_000)
    assert spent["gather"] < spent["train"]
    changed = config.model_copy(
        update={"finetune": config.finetune.model_copy(update={"gradient_accumulation": 1})}
    )
    assert (
        demand.shared(task, model, with_compute(changed, processes=way.count), ratio).batches == 1
    )


def test_free_answers_take_memory_whatever_chooses_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and values of what is generated at once; logits of whole answers in training."""
    monkeypatch.setattr(demand, "cores_take_16_bits", lambda dtype: False)
    config = with_compute(kept_configuration(KEPT.with_name("reference_answers")), device="cpu")
    model = config.models["smollm2-135m"]
    by_norm = config.model_copy(
        update={
            "recipes": {
                name: entry.model_copy(update={"criterion": "activation_norm"})
                for name, entry in config.recipes.items()
            }
        }
    )
    for task in ("evaluate", "full_ft"):
        most = demand.memory(task, model, config).host_mib
        assert most == demand.memory(task, model, by_norm).host_mib
    chosen = kept_configuration()  # multiple choice
    need = {
        tokens: demand.memory("evaluate", model, _answering(config, tokens)).host_mib
        for tokens in (96, 1096)
    }
    width, together = demand.shape(model)[0], 2048 // (3 * 220)
    more = 2 * 4 * width * 30 * together * 1000 / 2**20
    assert need[1096] - need[96] == pytest.approx(more, rel=0.02)
    assert demand.memory("evaluate", model, chosen).host_mib < need[96]
    assert duration.spent("evaluate", model, by_norm)["generate"] > 0
    assert "generate" not in duration.spent("evaluate", model, chosen)


def _answering(config: Config, tokens: int) -> Config:
    evaluate = config.evaluate.model_copy(update={"answer_tokens": tokens})
    return config.model_copy(update={"evaluate": evaluate})
