"""Every check on accuracy and on sublayers, on numbers that must fail it or leave it open."""

from collections.abc import Sequence

import pytest
from paper_results import DOMAINS, PaperResults, judged, missing, number, verdict
from result_files import epoch, rewrite, sublayers, write_chain

from trimllm.base.files import read_json
from trimllm_paper.published import NEAR
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_SEEN, REPRODUCED, SEEN, UNDECIDED

SCIQ = number("table3", "full_ft", "sciq")
Units = list[tuple[int, str]]


@pytest.fixture
def lossless(results: PaperResults) -> PaperResults:
    """Table 2, with Full-FT's accuracy at 50 and 40%."""
    results.table2()
    for domain in DOMAINS:
        for kept in (50, 40):
            results.trimmed(domain, "paper", kept, number("table3", "full_ft", domain))
    return results


@pytest.fixture
def table6(results: PaperResults) -> PaperResults:
    results.table2()
    results.table6()
    return results


@pytest.mark.parametrize("domain, kept", [("piqa", 50), ("piqa", 40), ("financeqa", 40)])
def test_a_loss_in_any_domain_at_either_end_fails(
    lossless: PaperResults, domain: str, kept: int
) -> None:
    assert verdict(lossless, "no_loss_50") == REPRODUCED
    assert verdict(lossless, "no_loss_50", own=False) == SEEN
    lossless.trimmed(domain, "paper", kept, 0.9 * number("table3", "full_ft", domain) - 5)
    assert verdict(lossless, "no_loss_50") == NOT_REPRODUCED
    assert verdict(lossless, "no_loss_50", own=False) == NOT_SEEN


def test_no_loss_in_four_domains_is_not_none_in_five(lossless: PaperResults) -> None:
    assert "financeqa" in missing(lossless, "no_loss_50", *DOMAINS[:4])
    lossless.trimmed("medmcqa", "paper", 40, 20)  # one that fails refutes, whatever is missing
    assert verdict(lossless, "no_loss_50", *DOMAINS[:4]) == NOT_REPRODUCED


def test_a_few_documents_leave_a_loss_undecided(lossless: PaperResults) -> None:
    lossless.answers("medmcqa", "full_ft", 55, n=100)
    for kept in (50, 40):
        lossless.trimmed("medmcqa", "paper", kept, 50, n=100)
    assert verdict(lossless, "no_loss_50") == UNDECIDED


@pytest.mark.parametrize(
    "domain, accuracies, expected",
    [
        ("sciq", {}, REPRODUCED),
        ("sciq", {50: 20, 40: 20, 30: 20}, NOT_REPRODUCED),
        ("medmcqa", {50: 20, 40: 20, 30: 20}, NOT_REPRODUCED),
        ("sciq", {40: 20, 30: 20}, NOT_REPRODUCED),  # 20 of 32 layers are 62.5%: half is too few
        ("sciq", {30: 20}, UNDECIDED),  # 60% dropped passes, 70% does not
        ("sciq", {30: 86}, UNDECIDED),  # too near to the bar
        ("sciq", {40: 20, 30: 94}, REPRODUCED),  # a later checkpoint may recover
    ],
)
def test_fewer_layers_than_the_paper_fail(
    results: PaperResults, domain: str, accuracies: dict[int, float], expected: str
) -> None:
    results.documents = 4000
    results.table2()
    for kept, accuracy in accuracies.items():
        results.trimmed(domain, "paper", kept, accuracy)
    assert verdict(results, "layers_dropped") == expected
    results.evaluations.paths = [p for p in results.evaluations.paths if "medmcqa" not in p.parts]
    if expected == REPRODUCED:  # in one domain
        assert missing(results, "layers_dropped") == "medmcqa with 50% dropped"


@pytest.mark.parametrize("chain", ["calibration_r1", "activation_norm_r0.5", "calibration_r0.125"])
def test_one_criterion_that_goes_further_at_one_r_fails_both(
    table6: PaperResults, chain: str
) -> None:
    table6.trimmed("sciq", chain, 30, SCIQ)
    assert verdict(table6, "both_best") == NOT_REPRODUCED


@pytest.mark.parametrize("percents", [None, (100, 50, 50)])
def test_a_ratio_as_good_as_a_quarter_fails_it(
    table6: PaperResults, percents: Sequence[int] | None
) -> None:
    """One that goes further; one that goes exactly as far."""
    for name in ("paper", "both_r0.125"):
        for kept, percent in zip((50, 40, 30), percents or (), strict=False):
            table6.trimmed("sciq", name, kept, SCIQ * percent / 100)
    if not percents:
        table6.trimmed("sciq", "both_r0.125", 30, SCIQ)
    assert verdict(table6, "r_quarter_best") == NOT_REPRODUCED


def test_where_nothing_can_be_dropped_no_criterion_is_best(table6: PaperResults) -> None:
    for path in [p for p in table6.evaluations.paths if "trim_" in str(p)]:
        n = read_json(path)["n"]
        rewrite(path, correct=[1] * (n // 5) + [0] * (n - n // 5), acc=20.0)
    one = judged(table6, "both_best")
    assert one.verdict == UNDECIDED and not one.comparisons


def test_the_criteria_are_not_best_at_r_that_were_not_run(table6: PaperResults) -> None:
    paths = table6.evaluations.paths
    table6.evaluations.paths = [p for p in paths if "r0.125" not in str(p)]
    for claim in ("both_best", "r_quarter_best"):
        assert "r=0.125" in missing(table6, claim)
    table6.evaluations.paths = [p for p in paths if "activation_norm_r1/" not in str(p)]
    assert missing(table6, "both_best") == "activation_norm r=1"
    # In one domain it is not the paper's claim, on whatever model.
    table6.evaluations.paths = [p for p in paths if "sciq" in p.parts]
    assert verdict(table6, "both_best", "sciq") == SEEN


def write_chains(results: PaperResults, *seeds: dict[str, Units]) -> None:
    """Chains that drop these sublayers of 24 in an epoch, by domain; of several seeds."""
    results.epochs = []
    for seed, dropped in enumerate(seeds):
        for domain, units in dropped.items():
            epochs = [epoch(0, [], blocks=12), epoch(1, units, blocks=12)]
            root = results.root / f"seed_{seed}"
            results.epochs += write_chain(root, epochs, domain=domain, seed=seed)


def kinds(mlps: int, dropped: int = 12) -> Units:
    """So many MLPs, and attentions for the rest."""
    attentions = [(block, "attention") for block in range(dropped - mlps)]
    return [(block, "mlp") for block in range(mlps)] + attentions


@pytest.mark.parametrize(
    "mlps, expected",
    [
        ((9, 9, 8, 9, 9), REPRODUCED),
        ((3, 3, 4, 3, 3), NOT_REPRODUCED),
        # Two thirds of 60 sublayers are MLPs, p = 0.01 by a sign test; but it is one chain's doing.
        ((6, 6, 12, 6, 10), UNDECIDED),
    ],
)
def test_chains_and_not_sublayers_are_the_unit_of_the_claim_on_kinds(
    results: PaperResults, mlps: Sequence[int], expected: str
) -> None:
    write_chains(results, {d: kinds(n) for d, n in zip(DOMAINS, mlps, strict=True)})
    one = judged(results, "mlp_more_than_attention")
    (share,) = one.comparisons
    assert one.verdict == expected and share.basis == "5 chains"
    assert share.value == pytest.approx(100 * sum(mlps) / 60)
    # Four domains, or a chain that stopped early, neither hold nor refute.
    four = {domain: kinds(n) for domain, n in zip(DOMAINS[:4], mlps, strict=False)}
    for chains in (four, four | {"financeqa": kinds(4, 4)}):
        write_chains(results, chains)
        assert "half in financeqa" in missing(results, "mlp_more_than_attention")


def patterns(shift: int, by_seed: int = 0) -> list[dict[str, Units]]:
    """Chains of two seeds; each domain drops sublayers `shift` further, each seed `by_seed`."""
    units = sublayers(12) * 2
    starts = {domain: shift * place for place, domain in enumerate(DOMAINS)}
    return [{d: units[s + by_seed * n :][:12] for d, s in starts.items()} for n in range(2)]


@pytest.fixture
def special(results: PaperResults) -> PaperResults:
    results.table2()
    results.table4_and_5()
    write_chains(results, *patterns(2))
    return results


def test_each_part_of_specialization_fails_it_alone(special: PaperResults) -> None:
    assert verdict(special, "specialization") == REPRODUCED
    special.trimmed("piqa", "paper", 40, 95, task="sciq")  # unrelated, and better for it
    assert verdict(special, "specialization") == NOT_REPRODUCED
    special.trimmed("piqa", "paper", 40, 81.1, task="sciq")
    special.trimmed("lexglue", "paper", 40, 20, task="legalbench")  # near, and lost
    assert verdict(special, "specialization") == NOT_REPRODUCED


@pytest.mark.parametrize(
    "shift, by_seed, expected", [(2, 1, REPRODUCED), (2, 5, UNDECIDED), (0, 0, NOT_REPRODUCED)]
)
def test_patterns_differ_if_domains_differ_by_more_than_seeds(
    special: PaperResults, shift: int, by_seed: int, expected: str
) -> None:
    write_chains(special, *patterns(shift, by_seed))
    assert verdict(special, "specialization") == expected
    write_chains(special, *patterns(shift)[:1])
    assert "second seed" in missing(special, "specialization")


def test_a_fall_of_a_model_that_knows_nothing_shows_no_specialization(
    special: PaperResults,
) -> None:
    """At chance in its own domain, where Full-FT is not, or surely below the untrained model there;
    what it does not lose refutes all the same."""
    for percent in (25, 30):  # the untrained model has 33.6
        special.trimmed("financeqa", "paper", 40, percent)
        one = judged(special, "specialization")
        lost = [x for x in one.comparisons if "has lost its own domain" in x.name]
        assert one.verdict == UNDECIDED and len(lost) == 3
    special.trimmed("financeqa", "paper", 40, 95, task="sciq")
    assert verdict(special, "specialization") == NOT_REPRODUCED


def test_specialization_on_a_part_of_its_pairs_or_patterns_is_open(special: PaperResults) -> None:
    paths = special.evaluations.paths
    special.evaluations.paths = [p for p in paths if p.name != "legalbench.json"]
    assert "lexglue on legalbench" in missing(special, "specialization")
    special.evaluations.paths = [
        p
        for p in paths
        if p.stem in (*p.parts, *NEAR.values()) or ("medmcqa" in p.parts and p.stem == "sciq")
    ]
    assert "medmcqa on piqa, lexglue, financeqa" in missing(special, "specialization")
    special.evaluations.paths = paths
    write_chains(special, *({d: one[d] for d in DOMAINS[:2]} for one in patterns(2)))
    assert "half in medmcqa, lexglue, financeqa" in missing(special, "specialization")
