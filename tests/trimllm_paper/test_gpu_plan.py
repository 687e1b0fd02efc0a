"""Which GPUs do: for a model whose size is known, and for one that fits nowhere."""

from __future__ import annotations

from configurations import configuration

from trimllm_paper import demand, gpu_plan
from trimllm_paper.gpus import KINDS


def test_llama_13b_trains_on_every_gpu() -> None:
    config = configuration("paper")
    model = config.models["llama-13b"]

    def fits(task: str) -> dict[str, gpu_plan.Way | None]:
        return {gpu: gpu_plan.fit(task, model, config, kind.gib) for gpu, kind in KINDS.items()}

    for task in gpu_plan.TASKS:
        for gpu, way in fits(task).items():
            if task == "compress":  # the dense model's loss on one GPU, in 16 bits: 26 GB
                assert (way is None) == (KINDS[gpu].gib < 30)
                assert way is None or way[1].gpu_gib < 30
            else:
                compute, memory = way
                assert compute.processes in demand.COUNTS
                assert memory.gpu_gib <= demand.FILLED * KINDS[gpu].gib
    full = fits("full_ft")
    # 16 bytes x 13e9 = 208 GB: no GPU holds that alone, and with less memory it takes more, or
    # the host's memory
    large, small = full["A100-SXM4-80GB"][0], full["A100-SXM4-40GB"][0]
    assert large.processes >= 4 and not large.offload
    assert small.offload or small.processes > large.processes
    assert full["RTX-3090-24GB"][0].offload
    assert fits("trim")["A100-SXM4-80GB"][0].processes < large.processes
    for task in ("scan", "evaluate"):  # 26 GB in 16 bits
        compute, memory = fits(task)["RTX-3090-24GB"]
        assert compute.weights_on == "disk" and memory.gpu_gib < 10


def test_what_nothing_shards_is_offered_no_second_gpu() -> None:
    config = configuration("one_gpu_7b")
    (model,) = config.models.values()
    compute, memory = gpu_plan.fit("full_ft", model, config, 24)
    assert compute.processes == 1 and not compute.offload and memory.gpu_gib < 20
    plain = config.finetune.model_copy(update={"lora": None})
    assert gpu_plan.fit("full_ft", model, config.model_copy(update={"finetune": plain}), 24) is None
    assert "full_ft  RTX-4090-24GB   x 1" in gpu_plan.text(config)


def test_the_plan_in_words() -> None:
    config = configuration("paper")
    text = gpu_plan.text(config)
    # The fewest of the configuration's GPUs, and how many its plan takes.
    way = demand.shared("full_ft", config.models["llama-7b"], config)
    (line,) = [line for line in text.split("llama-13b")[0].splitlines() if "; the plan" in line][:1]
    assert line.startswith("  full_ft  A100-SXM4-80GB  x 2") and way.count == 4
    assert line.endswith(f"; {gpu_plan.taken(way)}") and "; the plan takes x 4" in line
    assert text.count("; the plan takes") == 2 * len(config.models)
    again = demand.Shared(8, 4, True)
    assert gpu_plan.taken(again).endswith("x 8, 4 batches at once, blocks computed again")
    kinds = len(gpu_plan.TASKS) * len(KINDS)
    assert len(text.splitlines()) == len(config.models) * (1 + kinds)
    for words in ("llama-13b: 13.0 billion", "weights_on: disk", "offload: true", "batch_size: 8"):
        assert words in text
    assert all(task in demand.TASKS for task in gpu_plan.TASKS)


def test_what_fits_nowhere_says_so() -> None:
    config = configuration("paper")
    large = {"parameters": 5 * 10**13, "blocks": 200}
    huge = config.models["llama-13b"].model_copy(update=large)
    text = gpu_plan.text(config.model_copy(update={"models": {"huge": huge}}))
    assert "does not fit on 8" in text and "does not fit on 1" in text
