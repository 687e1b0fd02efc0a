"""The paper's claims: every one has a check, and its verdict follows from the measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chain_files import epoch, plain_chain, write_chain, write_training
from context_files import context
from evaluation_files import Evaluations
from timing_files import TimingFiles

from trimllm.base.files import read_json
from trimllm_paper import claims, published
from trimllm_paper.claims import report
from trimllm_paper.claims.evidence import CLAIMS
from trimllm_paper.frames import Frame
from trimllm_paper.recipe import Recipe
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, NOT_SEEN, REPRODUCED, SEEN, UNDECIDED

BOTH = ("sciq", "medmcqa")
MANY = 2000
"""Documents, so that a few points are no noise."""
FIVE = ("piqa", "sciq", "medmcqa", "lexglue", "financeqa")
CRITERIA = ("calibration", "activation_norm", "both")
RATIOS = (1.0, 0.5, 0.25, 0.125)


def found(
    evaluations: Evaluations | None = None,
    domains: tuple[str, ...] = BOTH,
    published: str | None = None,
    stand_in: dict[str, str] | None = None,
    **files: Any,
) -> dict[str, Any]:
    """Claim -> what is found on some files."""
    frame = Frame.of(evaluations=evaluations.paths if evaluations else (), **files)
    shown = context(*domains, published=published, stand_in=stand_in)
    return {one["id"]: one for one in report.report(frame, shown, [])["claims"]}


def verdicts(*args: Any, **kwargs: Any) -> dict[str, str]:
    return {name: one["verdict"] for name, one in found(*args, **kwargs).items()}


def trimmed(evaluations: Evaluations, acc: float, dropped: int, **more: Any) -> None:
    """Answers of the main chain's checkpoint after so many of 60 units."""
    recipe = str(Recipe.trimmed("paper", dropped, 60))
    evaluations.add(recipe, acc, **{"kept": 60 - dropped, "n": MANY, **more})


def add(evaluations: Evaluations, domain: str, full: float, acc: dict[int, float]) -> None:
    """Full-FT, and the accuracy after so many of 60 units."""
    evaluations.add("pretrained", 40, domain=domain, n=MANY)
    evaluations.add("full_ft", full, domain=domain, n=MANY)
    for dropped, each in acc.items():
        trimmed(evaluations, each, dropped, domain=domain)


def test_every_claim_of_the_paper_has_a_check() -> None:
    assert set(CLAIMS) == {claim["id"] for claim in published.claims()}
    assert all(formula and check.__doc__ for formula, check, _ in CLAIMS.values())


def test_without_measurements_nothing_is_claimed(tmp_path: Path) -> None:
    claims.write(Frame.of(), [context(*BOTH)], tmp_path / "claims")
    (one,) = read_json(tmp_path / "claims.json")["models"]
    assert {claim["verdict"] for claim in one["claims"]} == {NOT_RUN}
    assert one["verdicts"][NOT_RUN] == len(published.claims()) and one["tier"] is None


@pytest.mark.parametrize(
    "published_as, acc, expected",
    [
        (None, 78, SEEN),
        ("llama-7b", 78, REPRODUCED),
        (None, 60, NOT_SEEN),
        ("llama-7b", 60, NOT_REPRODUCED),
        ("llama-7b", 73, UNDECIDED),
    ],
)
def test_no_loss_is_judged_by_the_papers_own_bar(
    evaluations: Evaluations, published_as: str | None, acc: float, expected: str
) -> None:
    """90% of 80 are 72."""
    for domain in FIVE:
        add(evaluations, domain, 80, {30: 79, 36: acc if domain == "medmcqa" else 79})
    assert verdicts(evaluations, FIVE, published=published_as)["no_loss_50"] == expected
    stand_in = {"sciq": "others"}
    told = verdicts(evaluations, FIVE, published=published_as, stand_in=stand_in)["no_loss_50"]
    assert told == {78: SEEN, 60: NOT_SEEN, 73: UNDECIDED}[acc]  # stand-ins reproduce nothing


def test_layers_dropped_counts_the_smallest_good_checkpoint(evaluations: Evaluations) -> None:
    """SciQ needs 62.5% and MedMCQA 50% of the units gone."""
    add(evaluations, "sciq", 80, {30: 60, 42: 79})
    add(evaluations, "medmcqa", 80, {30: 79, 42: 50})
    one = found(evaluations)["layers_dropped"]
    assert one["verdict"] == SEEN
    assert one["numbers"]["dropped_percent"] == {"sciq": 70, "medmcqa": 50}
    assert one["measured"] == "sciq 70%, medmcqa 50%" and one["n"] == 2 * MANY and one["seeds"] == 1
    trimmed(evaluations, 74, 42)  # 93%, too near to the bar
    told = found(evaluations)["layers_dropped"]
    assert told["verdict"] == UNDECIDED and told["measured"].startswith("sciq < 50% to 70%")
    trimmed(evaluations, 60, 42)
    told = found(evaluations)["layers_dropped"]
    assert told["verdict"] == NOT_SEEN and told["measured"].startswith("sciq < 50%, medmcqa")


def test_documents_held_back_tell_of_the_epochs_between(
    evaluations: Evaluations, tmp_path: Path
) -> None:
    """Until the first state that fails, of each seed by its own Full-FT."""
    add(evaluations, "sciq", 80, {30: 60})
    answered = {"documents": 64, "likelihood": -1.0}

    left = dict.fromkeys([(0, "attention"), (1, "attention"), (2, "mlp"), (3, "mlp")], 5.0)
    chain = [*plain_chain("both"), epoch(3, [(0, "attention"), (1, "attention")], left)]

    def files(seed: int, full: float, *states: float) -> tuple[list[Path], Path]:
        epochs = [
            one | {"held_back": {"accuracy": accuracy, **answered}}
            for one, accuracy in zip(chain, states, strict=True)
        ]
        curve = [{"accuracy": one, **answered} for one in (90.0, full)]  # the second was kept
        results, kept = tmp_path / f"seed_{seed}", {"held_back": curve, "kept_pass": 1}
        training = write_training(results, "full_ft", 4.0, seed=seed, **kept)
        return write_chain(results, epochs, seed=seed), training

    def told(*runs: tuple[list[Path], Path], trained: bool = True) -> str:
        trainings = [training for _, training in runs] if trained else []
        epochs = [path for chain, _ in runs for path in chain]
        of = {"epochs": epochs, "trainings": trainings}
        return str(found(evaluations, **of)["layers_dropped"]["measured"])

    first = files(0, 80.0, 80.0, 73.0, 71.0, 79.0)
    assert "held back" not in told(first, trained=False)
    # Two of eight units an epoch; what passes after one that fails counts for nothing.
    assert told(first).endswith("before settling: sciq 25% (n = 64, 1 seed)")
    second = files(1, 60.0, 80.0, 55.0, 54.5, 54.0)
    # 54 is the bar, and no pass.
    assert told(first, second).endswith("sciq 25 to 50% (n = 64, 2 seeds)")
    third = files(2, 80.0, 60.0, 72.0, 80.0, 80.0)
    assert told(third).endswith("sciq 0% (n = 64, 1 seed)")


def grid(evaluations: Evaluations, good: dict[tuple[str, float], int], seed: int = 0) -> None:
    """Full-FT of 80, and chains by criterion and ratio that keep 90% of it until so many drops."""
    told: dict[str, Any] = {"n": MANY, "seed": seed}
    evaluations.add("full_ft", 80, domain="sciq", **told)
    for (criterion, ratio), last in good.items():
        name = "paper" if (criterion, ratio) == ("both", 0.25) else f"{criterion}_r{ratio:g}"
        for dropped in (30, 36, 42):
            recipe = str(Recipe.trimmed(name, dropped, 60))
            evaluations.add(recipe, 78 if dropped <= last else 40, kept=60 - dropped, **told)


SIZES = {(c, r): 36 if c == "both" else 30 for c in CRITERIA for r in RATIOS}


def test_final_mem_is_compared_where_all_chains_went_and_as_far_as_all(
    evaluations: Evaluations,
) -> None:
    """Other domains have the chain of Table 2 only; in sciq that of `both` goes on further."""
    grid(evaluations, SIZES)
    add(evaluations, "medmcqa", 80, {30: 20, 36: 20, 42: 20})
    trimmed(evaluations, 79, 48)
    told = found(evaluations, published="llama-7b")
    best, quarter = told["both_best"], told["r_quarter_best"]
    # One domain is not the paper's claim, on whatever model.
    assert best["verdict"] == SEEN and best["measured"].startswith("in sciq: ") and not best["own"]
    assert best["numbers"]["kept_percent"]["r=0.25"]["both"] == pytest.approx(40)
    for one in (best, quarter):
        assert (one["n"], one["counted"]) == (MANY, "documents of each checkpoint")
        assert one["seeds"] == 1
    assert quarter["verdict"] == NOT_SEEN
    assert set(quarter["numbers"]["kept_percent"].values()) == {40}
    # A second seed of Full-FT and of r = 1/4 alone makes no second seed of the comparison.
    again = Evaluations(evaluations.root / "seed_1")
    grid(again, {("both", 0.25): 36}, seed=1)
    evaluations.paths += again.paths
    told = found(evaluations, published="llama-7b")
    assert told["both_best"]["seeds"] == told["r_quarter_best"]["seeds"] == 1


def test_what_was_not_timed_in_turn_is_no_evidence(timings: TimingFiles) -> None:
    where = {"model": "tiny", "total": 60}
    timings.add("full_ft", 10, full=None, kept=60, interleaved=False, **where)
    timings.add("trim_paper/drop_36", 40, kept=24, interleaved=False, **where)
    assert verdicts(throughput=timings.paths)["speedup_a100"] == NOT_RUN
    timings.add("trim_paper/drop_36", 40, kept=24, interleaved=True, **where)
    assert verdicts(throughput=timings.paths)["speedup_a100"] == SEEN
