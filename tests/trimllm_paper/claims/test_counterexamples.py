"""Every check on accuracy and on units, on numbers that must fail it or leave it open."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from chain_files import epoch, every_unit, write_chain
from evaluation_files import rewrite
from paper_results import DOMAINS, PaperResults, judged, number

from trimllm.base.files import read_json
from trimllm_paper.published import NEAR
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, REPRODUCED, UNDECIDED


@pytest.mark.parametrize("kept", [50, 40])
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_loss_in_any_domain_at_either_end_fails(
    results: PaperResults, domain: str, kept: int
) -> None:
    results.table2()
    for one in DOMAINS:
        for size in (50, 40):
            results.trimmed(one, "paper", size, number("table2", "full_ft", one, "llama-7b"))
    assert judged(results, "no_loss_50")["verdict"] == REPRODUCED
    bar = 0.9 * number("table2", "full_ft", domain, "llama-7b")
    results.trimmed(domain, "paper", kept, bar - 5)
    assert judged(results, "no_loss_50")["verdict"] == NOT_REPRODUCED


def test_no_loss_in_four_domains_is_not_none_in_five(results: PaperResults) -> None:
    results.table2()
    for domain in DOMAINS:
        for kept in (50, 40):
            results.trimmed(domain, "paper", kept, number("table3", "full_ft", domain))
    assert judged(results, "no_loss_50")["verdict"] == REPRODUCED
    one = judged(results, "no_loss_50", *DOMAINS[:4])
    assert one["verdict"] == NOT_RUN and "financeqa" in one["measured"]


def test_layers_are_of_as_many_seeds_as_the_checkpoints_have(results: PaperResults) -> None:
    results.table2()
    for seed in (1, 2):
        for domain in DOMAINS:
            full = number("table2", "full_ft", domain, "llama-7b")
            results.answers(domain, "full_ft", full, seed=seed)
    assert judged(results, "layers_dropped")["seeds"] == 1


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
    assert one["verdict"] == UNDECIDED


@pytest.mark.parametrize("domain", ["sciq", "medmcqa"])
def test_fewer_layers_than_the_paper_fail(results: PaperResults, domain: str) -> None:
    results.table2()
    for kept in (50, 40, 30):
        results.trimmed(domain, "paper", kept, 20)
    one = judged(results, "layers_dropped")
    assert one["verdict"] == NOT_REPRODUCED and f"{domain} < 50%" in one["measured"]


def test_layers_just_short_of_the_papers_fail(results: PaperResults) -> None:
    """Twenty of 32 in SciQ are 62.5%: half of the units are not enough."""
    results.table2()
    for kept in (40, 30):
        results.trimmed("sciq", "paper", kept, 20)
    one = judged(results, "layers_dropped")
    assert one["verdict"] == NOT_REPRODUCED and "sciq 50%" in one["measured"]


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
        full = number("table3", "full_ft", domain)
        results.trimmed(domain, f"{criterion}_r{ratio:g}", 30, full)
    assert judged(results, "both_best")["verdict"] == NOT_REPRODUCED


def test_a_ratio_as_good_as_a_quarter_fails_it(results: PaperResults) -> None:
    results.table2()
    results.table6()
    for domain in DOMAINS:
        full = number("table3", "full_ft", domain)
        results.trimmed(domain, "both_r0.125", 30, full)
    assert judged(results, "r_quarter_best")["verdict"] == NOT_REPRODUCED


def test_a_ratio_exactly_as_good_as_a_quarter_fails_it(results: PaperResults) -> None:
    results.table2()
    results.table6()
    for domain in DOMAINS:
        full = number("table3", "full_ft", domain)
        for name in ("paper", "both_r0.125"):
            for kept, percent in ((50, full), (40, full / 2), (30, full / 2)):
                results.trimmed(domain, name, kept, percent)
    one = judged(results, "r_quarter_best")
    assert one["numbers"]["kept_percent"]["0.25"] == one["numbers"]["kept_percent"]["0.125"] == 50
    assert one["verdict"] == NOT_REPRODUCED


def test_where_nothing_can_be_dropped_no_criterion_is_best(results: PaperResults) -> None:
    results.table2()
    results.table6()
    for path in [p for p in results.evaluations.paths if "trim_" in str(p)]:
        told = read_json(path)
        half = told["n"] // 5
        rewrite(path, correct=[1] * half + [0] * (told["n"] - half), acc=20.0)
    one = judged(results, "both_best")
    assert {x for row in one["numbers"]["kept_percent"].values() for x in row.values()} == {100}
    assert one["verdict"] == UNDECIDED and "no criterion stands out" in one["measured"]


def test_the_criteria_are_not_best_at_r_that_were_not_run(results: PaperResults) -> None:
    results.table2()
    results.table6()
    keep = [p for p in results.evaluations.paths if "r0.125" not in str(p)]
    results.evaluations.paths = keep
    for claim in ("both_best", "r_quarter_best"):
        assert judged(results, claim)["verdict"] == NOT_RUN


def chains(results: PaperResults, dropped: dict[str, list[tuple[int, str]]], blocks: int) -> None:
    """Chains that drop these units in an epoch, by domain."""
    results.epochs = []
    for domain, units in dropped.items():
        scores = dict.fromkeys(every_unit(blocks=blocks), 5) | dict.fromkeys(units, 9)
        epochs = [epoch(0, [], scores, blocks=blocks), epoch(1, units, scores, blocks=blocks)]
        results.epochs += write_chain(results.root, epochs, domain=domain)


def kinds(mlps: int, dropped: int = 12) -> list[tuple[int, str]]:
    """So many MLPs, and attentions for the rest of them."""
    units = [(block, "mlp") for block in range(mlps)]
    return units + [(block, "attention") for block in range(dropped - mlps)]


@pytest.mark.parametrize("mlps, verdict", [(3, NOT_REPRODUCED), (6, UNDECIDED), (7, UNDECIDED)])
def test_as_many_attentions_or_more_fail_the_claim_on_kinds(
    results: PaperResults, mlps: int, verdict: str
) -> None:
    """Of 12 units in each of five domains; nine would be three quarters, p < 0.001."""
    for count, expected in ((9, REPRODUCED), (mlps, verdict)):
        chains(results, dict.fromkeys(DOMAINS, kinds(count)), 12)
        one = judged(results, "mlp_more_than_attention")
        assert one["verdict"] == expected
        assert (one["n"], one["counted"], one["seeds"]) == (60, "units", 1)
        assert f"{5 * count} MLP and {60 - 5 * count} attention" in one["measured"]
        (over,) = one["differences"].values()
        share = 100 * count / 12
        assert over["points"] == pytest.approx(share - 50)
        assert over["low"] < share - 50 < over["high"] < share
        assert f"attention, {share:.0f}% (" in one["measured"]


@pytest.mark.parametrize("mlps", [9, 3])
def test_kinds_in_four_domains_or_of_a_chain_that_stopped_early_say_nothing(
    results: PaperResults, mlps: int
) -> None:
    """They neither hold nor refute: the claim is on all domains together."""
    chains(results, dict.fromkeys(DOMAINS[:4], kinds(mlps)), 12)
    one = judged(results, "mlp_more_than_attention")
    assert one["verdict"] == NOT_RUN and "half of the units in financeqa" in one["measured"]
    early = dict.fromkeys(DOMAINS, kinds(mlps)) | {"piqa": kinds(4, 4)}
    chains(results, early, 12)
    one = judged(results, "mlp_more_than_attention")
    assert one["verdict"] == NOT_RUN and "half of the units in piqa" in one["measured"]


def patterns(results: PaperResults, same: bool, domains: Sequence[str] = DOMAINS) -> None:
    """Chains that drop the same units in each domain, or others."""
    units = [*every_unit()]
    starts = {domain: 0 if same else place for place, domain in enumerate(domains)}
    chains(results, {name: units[start : start + 4] for name, start in starts.items()}, 4)


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


def test_a_fall_of_a_model_that_knows_nothing_shows_no_specialization(
    results: PaperResults,
) -> None:
    """At chance in its own domain, where Full-FT is not, or surely below the untrained model there;
    what it does not lose refutes all the same."""
    results.table2()
    results.table4_and_5()
    patterns(results, same=False)
    for percent in (25, 30):  # the untrained model has 33.6
        results.trimmed("financeqa", "paper", 40, percent)
        one = judged(results, "specialization")
        assert one["verdict"] == UNDECIDED and one["numbers"]["parts"]["unrelated"] is None
        assert "3 are of models that have lost their own domain" in one["measured"]
    results.trimmed("financeqa", "paper", 40, 95, task="sciq")
    assert specialization(results) == NOT_REPRODUCED


def test_specialization_without_one_of_its_near_domains_is_open(results: PaperResults) -> None:
    results.table2()
    results.table4_and_5()
    patterns(results, same=False)
    paths = results.evaluations.paths
    results.evaluations.paths = [p for p in paths if p.name != "legalbench.json"]
    one = judged(results, "specialization")
    assert one["verdict"] == NOT_RUN and "lexglue on legalbench" in one["measured"]


def test_specialization_on_a_part_of_its_pairs_or_patterns_is_open(results: PaperResults) -> None:
    """Two of five chains; then one pair of unrelated domains."""
    results.table2()
    results.table4_and_5()
    patterns(results, False, DOMAINS[:2])
    one = judged(results, "specialization")
    assert one["verdict"] == NOT_RUN
    assert "half of the units in medmcqa, lexglue, financeqa" in one["measured"]
    patterns(results, same=False)
    results.evaluations.paths = [
        path
        for path in results.evaluations.paths
        if path.stem in (*path.parts, *NEAR.values())  # on its own domain, or near
        or ("medmcqa" in path.parts and path.stem == "sciq")
    ]
    one = judged(results, "specialization")
    assert one["verdict"] == NOT_RUN
    assert "piqa on sciq, medmcqa, lexglue, financeqa;" in one["measured"]
    assert "medmcqa on piqa, lexglue, financeqa" in one["measured"]
