"""Predictions of a check are the plan's, and a check is as large as the machine allows."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from configurations import configuration, with_compute

from trimllm.throughput import session
from trimllm_paper import demand, duration
from trimllm_paper.gpu_check import cases
from trimllm_paper.gpu_check.cases import CHECKS, Case, expected, largest
from trimllm_paper.gpu_check.work import MEASURES

PAPER = with_compute(configuration("paper"), processes=1, gpu=None)
MODEL = PAPER.models["llama-7b"]
ROOMY = {"GPU": 80 * demand.GIB, "memory": 1 << 40, "disk": 1 << 40}


def whole(name: str, device: str = "cuda") -> Case:
    return Case(name, "llama-7b", 32, device, threads=8)


def test_every_check_is_done_by_a_function() -> None:
    assert list(MEASURES) and MEASURES.keys() == CHECKS.keys()


@pytest.mark.parametrize(
    "name, place", [("scan", "device"), ("stream_host", "host"), ("stream_disk", "disk")]
)
def test_a_scan_takes_what_the_plan_says(name: str, place: str) -> None:
    config = with_compute(PAPER, weights_on=place)
    found, need = expected(whole(name)), demand.memory("scan", MODEL, config)
    allocated = need.gpu["weights"] + need.gpu["streams"]
    assert found["device memory"].value == pytest.approx(allocated, rel=0.001)
    assert found["host memory"].value == pytest.approx(need.host_mib * demand.MIB, rel=0.001)
    documents = whole(name).documents
    trim = config.trim.model_copy(update={"calibration_documents": documents})
    config = config.model_copy(update={"trim": trim})
    spent = duration.spent("scan", MODEL, config, expected=SimpleNamespace(tokens=duration.TOKENS))
    assert found["time"].value == pytest.approx(spent["scan"], rel=0.001)
    assert (found["time"].least, found["time"].most) == (0.5, 2)


def test_training_takes_what_the_plan_says() -> None:
    one, alone = whole("train"), expected(whole("train"))
    need = demand.memory("sparse_ft", MODEL, PAPER, 0.25)
    assert alone["device memory"].value == pytest.approx(
        sum(need.gpu.values()) - need.gpu["overhead"], rel=0.001
    )
    finetune = PAPER.finetune.model_copy(update={"epochs": 1})
    config = PAPER.model_copy(update={"finetune": finetune})
    told = SimpleNamespace(train=one.documents, tokens=demand.LONGEST)
    spent = duration.spent("sparse_ft", MODEL, config, ratio=0.25, expected=told)
    assert alone["time"].value == pytest.approx(spent["train"] + spent["update"], rel=0.001)
    # A rank by itself holds all, and gathers its layers as one of several does.
    several = demand.memory("sparse_ft", MODEL, PAPER, 0.25, demand.Shared(2)).gpu["gathered"]
    more = expected(whole("fsdp"))["device memory"].value - alone["device memory"].value
    assert more == pytest.approx(several, rel=0.001)


@pytest.mark.parametrize("method", ["awq_int4", "llm_int8"])
def test_compressing_takes_what_the_plan_says(method: str) -> None:
    two = replace(whole(f"compress_{method}"), blocks=2)
    found, size = expected(two), two.size
    need = demand.memory("compress", size, PAPER)
    allocated = need.gpu["weights"] + need.gpu["activations"]
    assert found["device memory"].value == pytest.approx(allocated)
    assert found["time"].value == size.parameters * duration.COMPRESSING[method]


def test_decoding_waits_for_the_host_unless_it_is_compiled() -> None:
    eager, compiled = expected(whole("eager")), expected(whole("compiled"))
    launch = duration.ASSUMED.launch
    assert eager["speed"].value == pytest.approx(1 / (32 * launch))  # 45 tokens a second
    assert eager["speed, half"].value == pytest.approx(1 / (16 * launch))
    kind = cases.demand.gpus.KINDS[cases.demand.gpus.ASSUMED]
    rate = duration.ASSUMED.memory * kind.memory / (2 * MODEL.parameters)
    assert compiled["speed"].value == pytest.approx(rate, rel=0.001)
    for name in ("awq_int4", "gptq_int4"):  # no faster than blocks can be started
        assert expected(whole(name))["speed"].value == pytest.approx(eager["speed"].value)
    on_cpu = whole("sparsegpt_2_4", "cpu").subject
    assert expected(whole("sparsegpt_2_4", "cpu"))["memory"].value == session.memory_bytes(on_cpu)


def test_a_small_card_checks_fewer_blocks() -> None:
    blocks = {}
    for gib in (80, 24, 8):
        one = largest(whole("train"), ROOMY | {"GPU": gib * demand.GIB})
        assert isinstance(one, Case)
        blocks[gib] = one.blocks
        assert cases.memory(one).gpu_gib <= demand.FILLED * gib
        if one.blocks < 32:
            larger = replace(one, blocks=one.blocks + 1)
            assert cases.memory(larger).gpu_gib > demand.FILLED * gib
        # a quarter of the blocks, whatever their number
        assert one.ratio == len(one.trained) / one.blocks and one.trained[0] == 0
    assert blocks[80] == 32 > blocks[24] > blocks[8] > 0
    told = largest(whole("train"), ROOMY | {"GPU": demand.GIB})
    assert isinstance(told, str) and told.startswith("GPU is too small: one block needs ")
    full = largest(whole("stream_disk"), ROOMY | {"disk": 0})
    assert isinstance(full, str) and full.startswith("disk is too small")


def test_a_streamed_scan_is_compared_where_the_whole_model_fits() -> None:
    for gib, compared in ((80, True), (8, False)):
        have = ROOMY | {"GPU": gib * demand.GIB}
        (found,) = cases.cases(("stream_host",), "llama-7b", "cuda", 8, have).values()
        assert isinstance(found, Case) and (found.blocks, found.compared) == (32, compared)
        assert ("other scores" in expected(found)) == compared


def test_few_blocks_are_compressed() -> None:
    (found,) = cases.cases(("compress_gptq_int4",), "llama-7b", "cuda", 8, ROOMY).values()
    assert isinstance(found, Case) and found.blocks == 2
    assert found.units == ((0, "attention"), (0, "mlp"), (1, "attention"), (1, "mlp"))


def test_nothing_but_too_much_memory_is_judged_of_the_tiny_shape() -> None:
    for name in CHECKS:
        tiny = Case(name, "llama-tiny", 2, "cpu")
        for what, one in expected(tiny).items():
            assert one.least is None and one.most == (1 if "memory" in what else None)
