"""Every check on the paper's own tables: it passes, or names what in the paper contradicts it.

And every check on numbers that must fail it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chain_files import epoch, every_unit, write_chain, write_training
from engine_files import write_engine
from paper_results import DOMAINS, UNITS, PaperResults, resize

from trimllm_paper import contradictions, published
from trimllm_paper.claims import report
from trimllm_paper.claims.evidence import CLAIMS, Evidence
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, REPRODUCED, UNDECIDED

CONTRADICTED = {
    "no_loss_50": ("47.5", "54.6"),
    "two_per_epoch": ("7.35", "5 epochs"),
}
"""Check that the paper's own numbers fail -> the two numbers that contradict each other."""
NO_NUMBER = {
    "every_engine": "a second engine: its abstract alone says so",
    "mlp_more_than_attention": "the patterns of Figure 3",
    "specialization": "the patterns of Figure 3, which is the first of its three parts",
}
"""Check that the paper prints no number for -> where that would be."""


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> PaperResults:
    return PaperResults(tmp_path_factory.mktemp("paper")).all()


def judged(results: PaperResults, claim: str, *domains: str) -> dict[str, Any]:
    (sentence,) = (one for one in published.claims() if one["id"] == claim)
    return report.judge(Evidence(results.frame, results.context(*domains)), sentence)


@pytest.fixture(scope="module")
def on_paper(paper: PaperResults) -> dict[str, dict[str, Any]]:
    found = report.report(paper.frame, paper.context(), [])
    return {one["id"]: one for one in found["claims"]}


@pytest.fixture
def results(tmp_path: Path) -> PaperResults:
    return PaperResults(tmp_path, documents=400)


def test_all_checks_are_listed_once() -> None:
    assert len(CLAIMS) == 12 and not {*CONTRADICTED} & {*NO_NUMBER}
    assert {*CONTRADICTED, *NO_NUMBER} <= {*CLAIMS}


@pytest.mark.parametrize("claim", sorted({one["id"] for one in published.claims()}))
def test_the_papers_own_numbers_pass_or_contradict_it(
    claim: str, on_paper: dict[str, dict[str, Any]]
) -> None:
    one = on_paper[claim]
    if claim in CONTRADICTED:
        assert one["verdict"] == NOT_REPRODUCED and one["own"], one["measured"]
        (told, *_) = contradictions.of_claim(claim)
        assert all(number in told for number in CONTRADICTED[claim])
        assert told in one["against_itself"]
    elif claim in NO_NUMBER:
        assert one["verdict"] == NOT_RUN and "not run" in one["measured"]
    else:
        assert one["verdict"] == REPRODUCED, one["measured"]


def test_the_parts_of_specialization_that_are_printed_pass(
    on_paper: dict[str, dict[str, Any]],
) -> None:
    """The rise of the model of LexGLUE on PubMedQA starts below chance, and is told apart."""
    one = on_paper["specialization"]
    assert one["numbers"]["parts"] == {"patterns": None, "unrelated": True, "near": True}
    assert any("pubmedqa by 29.3" in text for text in one["against_itself"])
    assert {("lexglue", "legalbench"), ("medmcqa", "pubmedqa")} == {
        (x["domain"], x["task"]) for x in one["numbers"]["cross"] if x["near"]
    }


def test_printed_precision_is_what_saves_the_speedups(on_paper: dict[str, dict[str, Any]]) -> None:
    ratios = on_paper["speedup_consumer"]["numbers"]["ratios"]
    every = [value for place in ratios.values() for value in place.values()]
    assert min(every) == pytest.approx(26.8 / 13.0) and max(every) == pytest.approx(34.9 / 6.1)
    (found,) = on_paper["compression_8x"]["numbers"]["found"].values()
    assert found == {"smaller": pytest.approx(8.0), "faster": pytest.approx(188.7 / 42.3)}


# ---- counterexamples


def speeds(results: PaperResults, row: str, rate: float, hardware: str = "v100") -> None:
    """Another rate for a row of the paper's measurements."""
    results.speed()
    compressed = {"full": 16.6, "kept": UNITS} if row.startswith("full") else {"kept": 24}
    full = {"v100": 16.6, "rtx3090": 13.4, "a100": 42.3}[hardware]
    where = {"hardware": hardware, "model": "random-llama-7b", "total": UNITS, "spread": 0.0}
    results.timings.add(row, rate, **(compressed | {"full": full}), **where)


def test_one_compressor_that_is_nearly_as_fast_fails_the_consumer_claim(
    results: PaperResults,
) -> None:
    speeds(results, "full+awq_int4", 34.9 / 2.0)
    assert judged(results, "speedup_consumer")["verdict"] == NOT_REPRODUCED


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
        (1.2, None, NOT_RUN),  # one engine is not every one
    ],
)
def test_a_speedup_must_be_had_in_every_engine(
    results: PaperResults, transformers: float, llama: float | None, verdict: str
) -> None:
    where = {"drafts": False}
    rates = {"transformers": {50: transformers, 30: 1.0}, "llm_int8": {50: 1.66}}
    results.engines = [write_engine(results.root, rates, **where)]
    if llama:
        rates = {"gguf_f16": {50: 1.66}, "gguf_q4_0": {50: llama}}
        results.engines.append(write_engine(results.root, rates, **where))
    one = judged(results, "every_engine")
    assert one["verdict"] == verdict
    if verdict == NOT_RUN:
        assert "(transformers alone was)" in one["measured"]
    elif verdict == REPRODUCED:
        assert one["numbers"]["share"]["cpu-mine/gguf_q4_0"] == pytest.approx(102)


@pytest.mark.parametrize("kept", [50, 40])
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_loss_in_any_domain_at_either_end_fails(
    results: PaperResults, domain: str, kept: int
) -> None:
    results.table2()
    for one in DOMAINS:
        for size in (50, 40):
            results.trimmed(
                one, "paper", size, contradictions.number("table2", "full_ft", one, "llama-7b")
            )
    assert judged(results, "no_loss_50")["verdict"] == REPRODUCED
    bar = 0.9 * contradictions.number("table2", "full_ft", domain, "llama-7b")
    results.trimmed(domain, "paper", kept, bar - 5)
    assert judged(results, "no_loss_50")["verdict"] == NOT_REPRODUCED


def test_no_loss_in_four_domains_is_not_none_in_five(results: PaperResults) -> None:
    results.table2()
    for domain in DOMAINS:
        for kept in (50, 40):
            results.trimmed(
                domain, "paper", kept, contradictions.number("table3", "full_ft", domain)
            )
    assert judged(results, "no_loss_50")["verdict"] == REPRODUCED
    one = judged(results, "no_loss_50", *DOMAINS[:4])
    assert one["verdict"] == NOT_RUN and "financeqa" in one["measured"]


def test_a_claim_is_refuted_whatever_is_missing(results: PaperResults) -> None:
    results.table2()
    results.trimmed("medmcqa", "paper", 40, 20)
    assert judged(results, "no_loss_50", *DOMAINS[:4])["verdict"] == NOT_REPRODUCED


def test_a_few_documents_leave_a_loss_undecided(results: PaperResults) -> None:
    results.table2()
    for kept in (50, 40):
        results.trimmed("medmcqa", "paper", kept, 50, n=100)
    results.answers("medmcqa", "full_ft", 55, n=100)
    one = judged(results, "no_loss_50")
    assert one["verdict"] == UNDECIDED and "times the documents" in one["decided_by"]
    assert "GPU-hours" in one["decided_by"]


@pytest.mark.parametrize("domain", ["sciq", "medmcqa"])
def test_fewer_layers_than_the_paper_fail(results: PaperResults, domain: str) -> None:
    results.table2()
    for kept in (50, 40, 30):
        results.trimmed(domain, "paper", kept, 20)
    one = judged(results, "layers_dropped")
    assert one["verdict"] == NOT_REPRODUCED and f"{domain} < 50%" in one["measured"]


def test_layers_of_one_domain_alone_are_not_the_claim(results: PaperResults) -> None:
    results.table2()
    results.evaluations.paths = [p for p in results.evaluations.paths if "medmcqa" not in p.parts]
    assert judged(results, "layers_dropped")["verdict"] == NOT_RUN


@pytest.mark.parametrize(
    "criterion, ratio", [("calibration", 1.0), ("activation_norm", 0.5), ("calibration", 0.125)]
)
def test_one_criterion_that_goes_further_at_one_r_fails_both(
    results: PaperResults, criterion: str, ratio: float
) -> None:
    results.table2()
    results.table6()
    for domain in DOMAINS:
        full = contradictions.number("table3", "full_ft", domain)
        results.trimmed(domain, f"{criterion}_r{ratio:g}", 30, full)
    assert judged(results, "both_best")["verdict"] == NOT_REPRODUCED


def test_a_ratio_as_good_as_a_quarter_fails_it(results: PaperResults) -> None:
    results.table2()
    results.table6()
    for domain in DOMAINS:
        full = contradictions.number("table3", "full_ft", domain)
        results.trimmed(domain, "both_r0.125", 30, full)
    assert judged(results, "r_quarter_best")["verdict"] == NOT_REPRODUCED


def test_a_ratio_exactly_as_good_as_a_quarter_fails_it(results: PaperResults) -> None:
    results.table2()
    results.table6()
    for domain in DOMAINS:
        full = contradictions.number("table3", "full_ft", domain)
        for name in ("paper", "both_r0.125"):
            for kept, percent in ((50, full), (40, full / 2), (30, full / 2)):
                results.trimmed(domain, name, kept, percent)
    one = judged(results, "r_quarter_best")
    assert one["numbers"]["kept_percent"]["0.25"] == one["numbers"]["kept_percent"]["0.125"] == 50
    assert one["verdict"] == NOT_REPRODUCED


def test_the_criteria_are_not_best_at_r_that_were_not_run(results: PaperResults) -> None:
    results.table2()
    results.table6()
    keep = [p for p in results.evaluations.paths if "r0.125" not in str(p)]
    results.evaluations.paths = keep
    for claim in ("both_best", "r_quarter_best"):
        assert judged(results, claim)["verdict"] == NOT_RUN


@pytest.mark.parametrize("mlps, verdict", [(16, NOT_REPRODUCED), (32, UNDECIDED), (44, UNDECIDED)])
def test_as_many_attentions_or_more_fail_the_claim_on_kinds(
    results: PaperResults, mlps: int, verdict: str
) -> None:
    """Of 64 dropped units; 48 would be three quarters, p < 0.001."""

    def kinds(count: int) -> str:
        half = [(block, "mlp") for block in range(count)]
        half += [(block, "attention") for block in range(64 - count)]
        scores = dict.fromkeys(every_unit(blocks=64), 5) | dict.fromkeys(half, 9)
        epochs = [epoch(0, [], scores, blocks=64), epoch(1, half, scores, blocks=64)]
        results.epochs = write_chain(results.root, epochs)
        return judged(results, "mlp_more_than_attention")["verdict"]

    assert kinds(48) == REPRODUCED
    assert kinds(min(mlps, 39)) == verdict


def patterns(results: PaperResults, same: bool) -> None:
    """Chains of two domains that drop the same units, or others."""
    results.epochs = []
    for domain, kind in (("sciq", "mlp"), ("medmcqa", "mlp" if same else "attention")):
        half = [(block, kind) for block in range(4)]
        scores = dict.fromkeys(every_unit(), 5) | dict.fromkeys(half, 9)
        epochs = [epoch(0, [], scores), epoch(1, half, scores)]
        results.epochs += write_chain(results.root, epochs, domain=domain)


def specialization(results: PaperResults) -> str:
    return judged(results, "specialization")["verdict"]


def test_each_part_of_specialization_fails_it_alone(results: PaperResults) -> None:
    results.table2()
    results.table4_and_5()
    patterns(results, same=False)
    assert specialization(results) == REPRODUCED
    patterns(results, same=True)
    assert specialization(results) == NOT_REPRODUCED
    patterns(results, same=False)
    results.trimmed("piqa", "paper", 40, 95, task="sciq")  # unrelated, and better for it
    assert specialization(results) == NOT_REPRODUCED
    results.trimmed("piqa", "paper", 40, 81.1, task="sciq")
    results.trimmed("lexglue", "paper", 40, 20, task="legalbench")  # near, and lost
    assert specialization(results) == NOT_REPRODUCED


def test_specialization_without_one_of_its_near_domains_is_open(results: PaperResults) -> None:
    results.table2()
    results.table4_and_5()
    patterns(results, same=False)
    paths = results.evaluations.paths
    results.evaluations.paths = [p for p in paths if p.name != "legalbench.json"]
    one = judged(results, "specialization")
    assert one["verdict"] == NOT_RUN and "near domain of lexglue" in one["measured"]


@pytest.mark.parametrize("sparse, trim", [(0.7, 0.4), (0.6, 0.5)])
def test_slower_training_fails_the_claim_on_time(
    results: PaperResults, sparse: float, trim: float
) -> None:
    for recipe, seconds in (("full_ft", 10.0), ("sparse_ft", 10 * sparse)):
        results.trainings.append(write_training(results.root, recipe, seconds))
    results.epochs = write_chain(results.root, [epoch(0, [], every_unit(), seconds=10 * trim)])
    assert judged(results, "training_time")["verdict"] == NOT_REPRODUCED


@pytest.mark.parametrize(
    "sparse, verdict", [(0.3, NOT_REPRODUCED), (0.41, REPRODUCED), (0.5, NOT_REPRODUCED)]
)
def test_five_epochs_need_their_factor(results: PaperResults, sparse: float, verdict: str) -> None:
    for recipe, seconds in (("full_ft", 10.0), ("sparse_ft", 10 * sparse)):
        results.trainings.append(write_training(results.root, recipe, seconds))
    results.epochs = write_chain(results.root, [epoch(0, [], every_unit())])
    assert judged(results, "two_per_epoch")["verdict"] == verdict
