"""Every check on speed, size and time, on numbers that must fail it or leave it open."""

from __future__ import annotations

from typing import Any

import pytest
from engine_files import write_engine
from paper_results import DOMAINS, UNITS, PaperResults, judged, resize

from trimllm_paper.claims.evidence import Evidence
from trimllm_paper.claims.speed import speedup_consumer
from trimllm_paper.verdict import (
    NOT_REPRODUCED,
    NOT_RUN,
    NOT_SEEN,
    REPRODUCED,
    SEEN,
    UNDECIDED,
)


def speeds(results: PaperResults, row: str, rate: float, hardware: str = "v100") -> None:
    """Another rate for a row of the paper's measurements."""
    results.speed()
    compressed = {"full": 16.6, "kept": UNITS} if row.startswith("full") else {"kept": 24}
    full = {"v100": 16.6, "rtx3090": 13.4, "a100": 42.3}[hardware]
    where = {"hardware": hardware, "model": "random-llama-7b", "total": UNITS, "spread": 0.0}
    results.timings.add(row, rate, **(compressed | {"full": full}), **where)


GPUS = ("a100", "rtx3090", "v100")


def engines(results: PaperResults, gpu: str, transformers: float, llama: float | None) -> None:
    """Two engines on a GPU, by what trimming gains there; without the second, one."""
    where: dict[str, Any] = {"hardware": gpu}
    rates = {"transformers": {50: transformers, 30: 1.0}, "llm_int8": {50: 1.66}}
    paths = [write_engine(results.root, rates, **where)]
    if llama:
        rates = {"gguf_f16": {50: 1.66}, "gguf_q4_0": {50: llama}}
        paths.append(write_engine(results.root, rates, **where))
    results.engines = [*dict.fromkeys([*results.engines, *paths])]


def test_one_compressor_that_is_nearly_as_fast_fails_the_consumer_claim(
    results: PaperResults,
) -> None:
    speeds(results, "full+awq_int4", 34.9 / 2.0)
    assert judged(results, "speedup_consumer")["verdict"] == NOT_REPRODUCED


def test_a_faster_pattern_than_table_1s_is_not_what_is_claimed(results: PaperResults) -> None:
    speeds(results, "trim_chain/keep_40", 60.0)
    results.timings.paths.sort()  # `chain` before `half`, which the configuration names first
    patterns = {"patterns": ("half", "chain")}
    evidence = Evidence(results.frame, results.context().model_copy(update=patterns))
    found = speedup_consumer(evidence).numbers["ratios"]["v100/random-llama-7b"]
    assert max(found.values()) == pytest.approx(34.9 / 6.1)


def test_a_consumer_claim_without_its_upper_end_fails(results: PaperResults) -> None:
    speeds(results, "full+gptq_int4", 34.9 / 3)  # the largest is 4.7 now, over awq_int4 or int8
    assert judged(results, "speedup_consumer")["verdict"] == NOT_REPRODUCED


def test_a_consumer_claim_on_one_of_two_machines_is_not_the_papers(results: PaperResults) -> None:
    results.speed()
    results.timings.paths = [p for p in results.timings.paths if "rtx3090" not in p.parts]
    assert not judged(results, "speedup_consumer")["own"]


@pytest.mark.parametrize("compressor", ["sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4"])
def test_a_compressor_that_was_not_measured_leaves_the_claim_open(
    results: PaperResults, compressor: str
) -> None:
    results.speed()
    gone = f"full+{compressor}.json"
    results.timings.paths = [p for p in results.timings.paths if p.name != gone]
    one = judged(results, "speedup_consumer")
    assert one["verdict"] == NOT_RUN and compressor in one["measured"]


def test_quartiles_that_hold_the_bar_decide_nothing(results: PaperResults) -> None:
    results.speed()
    where = {"hardware": "rtx3090", "model": "random-llama-7b", "total": UNITS}
    results.timings.add("full+sparsegpt_2_4", 13.0, full=13.4, kept=UNITS, spread=0.1, **where)
    assert judged(results, "speedup_consumer")["verdict"] == UNDECIDED


def test_nothing_as_fast_fails_the_claim_on_the_a100(results: PaperResults) -> None:
    results.speed()
    where = {"hardware": "a100", "model": "random-llama-7b", "total": UNITS, "spread": 0.0}
    for compressor in ("sparsegpt_2_4", "awq_int4"):
        recipe = f"trim_half/keep_50+{compressor}"
        results.timings.add(recipe, 42.3 * 3.0, full=42.3, kept=30, **where)
    assert judged(results, "speedup_a100")["verdict"] == NOT_REPRODUCED


@pytest.mark.parametrize("share, faster", [(0.2, 5.0), (0.1, 4.0)])
def test_smaller_alone_or_faster_alone_fails(
    results: PaperResults, share: float, faster: float
) -> None:
    where = {"hardware": "a100", "model": "random-llama-7b", "total": UNITS, "spread": 0.0}
    recipe = "trim_half/keep_50+awq_int4"
    path = results.timings.add(recipe, 10 * faster, full=10, kept=30, **where)
    resize(path, share)
    assert judged(results, "compression_8x")["verdict"] == NOT_REPRODUCED


# Half of the units are 1.8 of 3 MB: bytes predict 1.67 times.
@pytest.mark.parametrize(
    "transformers, llama, verdict",
    [
        (1.6, 1.7, REPRODUCED),
        (1.6, 1.4, NOT_REPRODUCED),
        (1.2, 1.7, NOT_REPRODUCED),
        (1.6, 1.5, UNDECIDED),  # quartiles hold the bar
        (1.6, None, NOT_RUN),
        (1.2, None, NOT_REPRODUCED),  # one engine is not every one, and enough to refute it
    ],
)
def test_a_speedup_must_be_had_in_every_engine(
    results: PaperResults, transformers: float, llama: float | None, verdict: str
) -> None:
    for gpu in GPUS:
        engines(results, gpu, transformers, llama)
    one = judged(results, "every_engine")
    assert one["verdict"] == verdict
    if verdict == NOT_RUN:
        assert "(transformers alone was)" in one["measured"]
    elif verdict == REPRODUCED:
        assert one["numbers"]["share"]["v100/gguf_q4_0"] == pytest.approx(102)


def test_engines_on_two_of_the_papers_gpus_are_not_irrespective_of_hardware(
    results: PaperResults,
) -> None:
    for gpu in GPUS[1:]:
        engines(results, gpu, 1.6, 1.7)
    one = judged(results, "every_engine")
    assert one["verdict"] == NOT_RUN and "2 engines on a100" in one["measured"]
    engines(results, GPUS[0], 1.6, None)  # a single engine is not two
    assert judged(results, "every_engine")["verdict"] == NOT_RUN
    engines(results, GPUS[0], 1.6, 1.4)  # and one that fails is enough
    assert judged(results, "every_engine")["verdict"] == NOT_REPRODUCED


def test_an_engine_on_another_machine_says_nothing_of_the_papers_gpus(
    results: PaperResults,
) -> None:
    for gpu in GPUS:
        engines(results, gpu, 1.6, 1.7)
    engines(results, "cpu-mine", 1.2, 1.2)
    assert judged(results, "every_engine")["verdict"] == REPRODUCED
    results.engines = [path for path in results.engines if "cpu-mine" in path.parts]
    assert judged(results, "every_engine")["verdict"] == NOT_SEEN
    results.engines = []
    engines(results, "a100", 1.2, 1.2)
    assert judged(results, "every_engine")["verdict"] == NOT_REPRODUCED


@pytest.mark.parametrize("sparse, trim", [(0.7, 0.4), (0.6, 0.5)])
def test_slower_training_fails_the_claim_on_time(
    results: PaperResults, sparse: float, trim: float
) -> None:
    results.trained(full_ft=10, sparse_ft=10 * sparse, trimllm=10 * trim)
    assert judged(results, "training_time")["verdict"] == NOT_REPRODUCED


@pytest.mark.parametrize(
    "sparse, verdict", [(0.3, NOT_REPRODUCED), (0.41, REPRODUCED), (0.5, NOT_REPRODUCED)]
)
def test_five_epochs_need_their_factor(results: PaperResults, sparse: float, verdict: str) -> None:
    results.trained(full_ft=10, sparse_ft=10 * sparse)
    one = judged(results, "two_per_epoch")
    assert one["verdict"] == verdict and "5 epochs would need f = 0.41" in one["measured"]


@pytest.mark.parametrize("claim", ["training_time", "two_per_epoch"])
def test_times_in_a_part_of_the_domains_neither_hold_nor_refute(
    results: PaperResults, claim: str
) -> None:
    for sparse in (0.41, 0.9):
        results.trainings, results.epochs = [], []
        results.trained(*DOMAINS[:4], full_ft=10, sparse_ft=10 * sparse)
        one = judged(results, claim)
        assert one["verdict"] == NOT_RUN and "the chain in financeqa" in one["measured"]


@pytest.mark.parametrize("claim", ["training_time", "two_per_epoch"])
def test_times_of_one_domain_have_no_interval(results: PaperResults, claim: str) -> None:
    results.trained("sciq", full_ft=10, sparse_ft=4.1)
    one = judged(results, claim, "sciq", own=False)
    assert one["verdict"] == UNDECIDED and "one domain: no interval" in one["measured"]
    assert {x["low"] for x in one["differences"].values()} == {None}
    results.trained("piqa", full_ft=10, sparse_ft=4.1)
    assert judged(results, claim, "sciq", "piqa", own=False)["verdict"] == SEEN


@pytest.mark.parametrize("claim", ["training_time", "two_per_epoch"])
@pytest.mark.parametrize(
    "gpu, count", [("NVIDIA H100 80GB HBM3", 2), ("NVIDIA A100-SXM4-80GB", 4), (None, 1)]
)
def test_times_of_another_machine_are_not_the_papers(
    results: PaperResults, claim: str, gpu: str | None, count: int
) -> None:
    on = {"provenance": {"hardware": {"gpu": gpu, "cpu": "A"}}, "processes": {"count": count}}
    results.trained(*DOMAINS, full_ft=10, sparse_ft=4.1, **on)
    assert judged(results, claim)["verdict"] == SEEN
    results.trainings, results.epochs = [], []
    results.trained(*DOMAINS[:4], full_ft=10, sparse_ft=4.1)
    results.trained(DOMAINS[4], full_ft=10, sparse_ft=4.1, **on)
    assert judged(results, claim)["verdict"] == SEEN
    results.trainings, results.epochs = [], []
    results.trained(full_ft=10, sparse_ft=4.1)
    assert judged(results, claim)["verdict"] == REPRODUCED
