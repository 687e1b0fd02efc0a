"""Every check on speed, size and time, on numbers that must fail it or leave it open."""

from typing import Any

import pytest
from paper_results import DOMAINS, UNITS, PaperResults, judged, missing, resize, verdict
from result_files import write_engine

from trimllm_paper import derive
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, NOT_SEEN, REPRODUCED, SEEN, UNDECIDED

FULL = {"v100": 16.6, "rtx3090": 13.4, "a100": 42.3}


def speeds(results: PaperResults, row: str, rate: float, gpu: str = "v100", **more: Any) -> None:
    """Another rate for a row of the paper's measurements."""
    kept = {"kept": UNITS} if row.startswith("full") else {"kept": 24}
    where = {"hardware": gpu, "model": "random-llama-7b", "total": UNITS, "full": FULL[gpu]}
    results.timings.add(row, rate, **where | kept | {"spread": 0.0} | more)


@pytest.mark.parametrize(
    "row, rate, more, expected",
    [
        ("full+awq_int4", 11.0, {}, REPRODUCED),
        ("full+awq_int4", 34.9 / 2.0, {}, NOT_REPRODUCED),  # nearly as fast
        ("full+gptq_int4", 34.9 / 3, {}, NOT_REPRODUCED),  # the largest is 4.7 now
        ("full+sparsegpt_2_4", 14.5, {"spread": 0.2}, UNDECIDED),
    ],
)
def test_a_compressor_of_another_speed_on_consumer_hardware(
    results: PaperResults, row: str, rate: float, more: dict[str, float], expected: str
) -> None:
    results.speed()
    speeds(results, row, rate, **more)
    assert verdict(results, "speedup_consumer") == expected
    results.timings.paths = [p for p in results.timings.paths if p.stem != row]
    if expected == REPRODUCED:
        assert row.removeprefix("full+") in missing(results, "speedup_consumer")


@pytest.mark.parametrize("gone, own", [("rtx3090", False), ("rtx3090/random-llama-7b/trim", True)])
def test_one_of_two_machines_is_not_the_papers(results: PaperResults, gone: str, own: bool) -> None:
    """Nor where TrimLLM was not timed on one of them."""
    results.speed()
    results.timings.paths = [p for p in results.timings.paths if gone not in p.as_posix()]
    finding = judged(results, "speedup_consumer")
    assert finding.own is own and bool(finding.missing) is own


def test_three_times_as_fast_is_not_the_papers_speedup(results: PaperResults) -> None:
    speeds(results, "trim_half/keep_40", 150, "a100")
    assert verdict(results, "speedup_a100") == REPRODUCED
    speeds(results, "trim_half/keep_40", 42.3 * 3.0, "a100")
    assert verdict(results, "speedup_a100") == NOT_REPRODUCED


@pytest.mark.parametrize("share, faster", [(0.2, 5.0), (0.1, 4.0)])
def test_smaller_alone_or_faster_alone_fails(
    results: PaperResults, share: float, faster: float
) -> None:
    speeds(results, "trim_half/keep_50+awq_int4", 42.3 * faster, "a100", kept=30)
    resize(results.timings.paths[-1], share)
    assert verdict(results, "compression_8x") == NOT_REPRODUCED


def engines(
    results: PaperResults, transformers: float, llama: float | None, *machines: str
) -> None:
    """Two engines on GPUs, by what trimming gains there; without the second, one."""
    for name in machines or FULL:
        rates: dict[str, Any] = {
            "transformers": {50: transformers, 30: 1.0},
            "llm_int8": {50: 1.66},
        }
        paths = [write_engine(results.root, rates, hardware=name)]
        if llama:
            rates = {"gguf_f16": {50: 1.66}, "gguf_q4_0": {50: llama}}
            paths.append(write_engine(results.root, rates, hardware=name))
        results.engines = [*dict.fromkeys([*results.engines, *paths])]


# Half of the sublayers are 1.8 of 3 MB: bytes predict 1.67 times.
@pytest.mark.parametrize(
    "transformers, llama, expected",
    [
        (1.6, 1.7, REPRODUCED),
        (1.6, 1.2, NOT_REPRODUCED),
        (1.2, 1.7, NOT_REPRODUCED),
        (1.6, 1.5, UNDECIDED),  # the interval holds the bar
        (1.6, None, NOT_RUN),
        (1.2, None, NOT_REPRODUCED),  # one engine is not every one, and enough to refute it
    ],
)
def test_a_speedup_must_be_had_in_every_engine(
    results: PaperResults, transformers: float, llama: float | None, expected: str
) -> None:
    engines(results, transformers, llama)
    assert verdict(results, "every_engine") == expected


def test_engines_on_other_machines_than_the_papers(results: PaperResults) -> None:
    engines(results, 1.6, 1.7, "v100", "rtx3090")
    assert missing(results, "every_engine") == "2 engines on a100"
    engines(results, 1.6, 1.7, "a100")
    assert verdict(results, "every_engine") == REPRODUCED
    engines(results, 1.0, 1.0, "cpu-mine")  # on every machine, this one too
    assert verdict(results, "every_engine") == NOT_SEEN


@pytest.mark.parametrize(
    "sparse, trim, expected",
    [(0.6, 0.4, REPRODUCED), (0.7, 0.4, NOT_REPRODUCED), (0.6, 0.5, NOT_REPRODUCED)],
)
def test_slower_training_fails_the_claim_on_time(
    results: PaperResults, sparse: float, trim: float, expected: str
) -> None:
    results.trained(full_ft=10, sparse_ft=10 * sparse, trimllm=10 * trim)
    one = judged(results, "training_time")
    assert one.verdict == expected
    # The number is Table 9's.
    times = derive.training_time(results.frame, "tiny", "sciq", "paper", 1)
    assert [*times.share] == [pytest.approx(100 * trim)]
    assert one.comparisons[1].value == pytest.approx(trim)


@pytest.mark.parametrize(
    "sparse, expected", [(0.3, NOT_REPRODUCED), (0.41, REPRODUCED), (0.5, NOT_REPRODUCED)]
)
def test_five_epochs_need_their_factor(results: PaperResults, sparse: float, expected: str) -> None:
    results.trained(full_ft=10, sparse_ft=10 * sparse)
    assert verdict(results, "two_per_epoch") == expected


@pytest.mark.parametrize("claim", ["training_time", "two_per_epoch"])
def test_times_of_a_part_of_the_domains_or_of_another_machine(
    results: PaperResults, claim: str
) -> None:
    for sparse in (0.41, 0.9):  # neither holds nor refutes
        results.trainings, results.epochs = [], []
        results.trained(*DOMAINS[:4], full_ft=10, sparse_ft=10 * sparse)
        assert "the chain in financeqa" in missing(results, claim)
    one = judged(results, claim, "sciq", own=False)
    assert one.verdict == UNDECIDED and one.comparisons[0].low is None  # one domain
    results.trainings, results.epochs = [], []
    results.trained(*DOMAINS[:4], full_ft=10, sparse_ft=4.1)
    h100 = {"provenance": {"hardware": {"gpu": "NVIDIA H100 80GB HBM3", "cpu": "A"}}}
    results.trained(DOMAINS[4], full_ft=10, sparse_ft=4.1, **h100, processes={"count": 2})
    assert verdict(results, claim) == SEEN
