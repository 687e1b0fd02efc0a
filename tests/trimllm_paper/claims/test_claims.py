"""The paper's claims: every one has a check, and its verdict follows from the measurements."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chain_files import epoch, every_unit, plain_chain, write_chain, write_training
from evaluation_files import Evaluations
from timing_files import bench

from trimllm.base.files import read_json
from trimllm_paper import published
from trimllm_paper.chains import Run
from trimllm_paper.claims import claims
from trimllm_paper.claims.claim_checks import CHECKS, sign_test
from trimllm_paper.claims.evidence import Evidence
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, REPRODUCED, SHAPE_ONLY

RUN = Run(0.25, 6)
TRIMMED = "trim_{criterion}_r{ratio}_d6/drop_{dropped}"


def evidence(
    evaluations: Evaluations | None = None,
    *,
    records: list[Path] = (),
    trainings: list[Path] = (),
    timings: list[Path] = (),
    model: dict[str, Any] | None = None,
    domains: tuple[str, ...] = ("sciq", "medmcqa"),
) -> Evidence:
    return Evidence(
        evaluations.paths if evaluations else [],
        records,
        trainings,
        timings,
        model or {"name": "tiny", "label": "Tiny", "published": None},
        [{"name": name, "tasks": [name]} for name in domains],
        RUN,
    )


def verdicts(found: Evidence) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in claims.check_all(found, CHECKS)}


def test_every_claim_of_the_paper_has_a_check() -> None:
    assert set(CHECKS) == {claim["id"] for claim in published.claims()}
    assert all(check.__doc__ for check in CHECKS.values())


def test_without_measurements_nothing_is_claimed() -> None:
    found = claims.report(evidence(), CHECKS)
    assert {one["verdict"] for one in found["claims"]} == {NOT_RUN}
    assert found["verdicts"][NOT_RUN] == len(published.claims()) and found["tier"] is None


def add(evaluations: Evaluations, domain: str, full: float, trimmed: dict[int, float]) -> None:
    """Full-FT, and the accuracy after so many of 60 units."""
    evaluations.add("pretrained", 40, domain=domain)
    evaluations.add("full_ft", full, domain=domain)
    for dropped, acc in trimmed.items():
        recipe = TRIMMED.format(criterion="both", ratio="0.25", dropped=dropped)
        evaluations.add(recipe, acc, domain=domain, kept=60 - dropped)


@pytest.mark.parametrize(
    "published_as, acc, expected",
    [
        (None, 75, SHAPE_ONLY),
        ("llama-7b", 75, REPRODUCED),
        (None, 70, NOT_REPRODUCED),
        ("llama-7b", 70, NOT_REPRODUCED),
    ],
)
def test_no_loss_is_judged_by_the_papers_own_bar(
    evaluations: Evaluations, published_as: str | None, acc: float, expected: str
) -> None:
    """90% of 80 are 72."""
    for domain in ("sciq", "medmcqa"):
        add(evaluations, domain, 80, {30: 75 if domain == "sciq" else acc})
    model = {"name": "tiny", "published": published_as}
    assert verdicts(evidence(evaluations, model=model))["no_loss_50"] == expected


def test_stand_in_data_reproduce_nothing(evaluations: Evaluations) -> None:
    for domain in ("sciq", "medmcqa"):
        add(evaluations, domain, 80, {30: 80})
    found = evidence(evaluations, model={"name": "tiny", "published": "llama-7b"})
    found.domains = [dict(d, stand_in="others") for d in found.domains]
    assert verdicts(found)["no_loss_50"] == SHAPE_ONLY


def test_layers_dropped_counts_the_smallest_good_checkpoint(evaluations: Evaluations) -> None:
    """SciQ needs 62.5% and MedMCQA 50% of the units gone."""
    add(evaluations, "sciq", 80, {30: 60, 42: 76})
    add(evaluations, "medmcqa", 80, {30: 76, 42: 50})
    found = {one["id"]: one for one in claims.check_all(evidence(evaluations), CHECKS)}
    one = found["layers_dropped"]
    assert one["verdict"] == SHAPE_ONLY
    assert one["numbers"]["dropped_percent"] == {"sciq": 70, "medmcqa": 50}
    evaluations.add(TRIMMED.format(criterion="both", ratio="0.25", dropped=42), 60, kept=18)
    assert verdicts(evidence(evaluations))["layers_dropped"] == NOT_REPRODUCED


def test_sign_test_is_exact() -> None:
    assert sign_test(5, 5) == 1.0
    assert sign_test(0, 5) == sign_test(5, 0) == pytest.approx(2 / 32)
    assert sign_test(9, 1) == pytest.approx(2 * 11 / 1024)


@pytest.mark.parametrize(
    "mlps, blocks, expected", [(8, 8, SHAPE_ONLY), (4, 8, NOT_REPRODUCED), (3, 4, NOT_REPRODUCED)]
)
def test_more_mlp_must_be_significant(
    tmp_path: Path, mlps: int, blocks: int, expected: str
) -> None:
    half = [(block, "mlp") for block in range(mlps)]
    half += [(block, "attention") for block in range(blocks - mlps)]
    scores = dict.fromkeys(every_unit(blocks=blocks), 5) | dict.fromkeys(half, 9)
    path = write_chain(tmp_path, [epoch(0, half, scores, blocks=blocks)])
    assert verdicts(evidence(records=[path]))["mlp_more_than_attention"] == expected


def test_specialization_needs_all_three_parts(evaluations: Evaluations, tmp_path: Path) -> None:
    records = []
    for domain, kind in (("sciq", "mlp"), ("medmcqa", "attention")):
        half = [(block, kind) for block in range(4)]
        scores = dict.fromkeys(every_unit(), 5) | dict.fromkeys(half, 9)
        records.append(write_chain(tmp_path, [epoch(0, half, scores)], domain=domain))
    assert verdicts(evidence(records=records))["specialization"] == NOT_RUN
    recipe = TRIMMED.format(criterion="both", ratio="0.25", dropped=36)
    add(evaluations, "sciq", 80, {36: 76})
    add(evaluations, "medmcqa", 80, {36: 76})
    evaluations.add(recipe, 10, domain="sciq", task="medmcqa", kept=24)
    evaluations.add(recipe, 10, domain="medmcqa", task="sciq", kept=24)
    evaluations.add("pretrained", 50, domain="pubmedqa", task="pubmedqa")
    assert verdicts(evidence(evaluations, records=records))["specialization"] == NOT_RUN
    evaluations.add(recipe, 55, domain="medmcqa", task="pubmedqa", kept=24)
    assert verdicts(evidence(evaluations, records=records))["specialization"] == SHAPE_ONLY
    # The near domain is lost.
    evaluations.add(recipe, 10, domain="medmcqa", task="pubmedqa", kept=24)
    assert verdicts(evidence(evaluations, records=records))["specialization"] == NOT_REPRODUCED


def grid(evaluations: Evaluations, kept: dict[tuple[str, float], int]) -> None:
    """Full-FT of 80, and chains by criterion and ratio that keep 90% of it until so many drops."""
    evaluations.add("full_ft", 80, domain="sciq")
    for (criterion, ratio), good in kept.items():
        for dropped in (30, 36, 42):
            recipe = TRIMMED.format(criterion=criterion, ratio=f"{ratio:g}", dropped=dropped)
            evaluations.add(recipe, 78 if dropped <= good else 40, kept=60 - dropped)


CRITERIA = ("calibration", "activation_norm", "both")
RATIOS = (1.0, 0.5, 0.25, 0.125)


def test_criteria_and_ratios_are_compared_by_final_mem(evaluations: Evaluations) -> None:
    sizes = {(c, r): 36 if c == "both" else 30 for c in CRITERIA for r in RATIOS}
    grid(evaluations, sizes | {("both", 0.25): 42})
    found = verdicts(evidence(evaluations, domains=("sciq",)))
    assert found["both_best"] == found["r_quarter_best"] == SHAPE_ONLY


def test_a_better_criterion_anywhere_refutes(evaluations: Evaluations) -> None:
    sizes = {(c, r): 36 if c == "both" else 30 for c in CRITERIA for r in RATIOS}
    grid(evaluations, sizes | {("calibration", 1.0): 42, ("both", 1.0): 36})
    found = verdicts(evidence(evaluations, domains=("sciq",)))
    # r = 1/4 is no better than the other ratios.
    assert found["both_best"] == found["r_quarter_best"] == NOT_REPRODUCED


def test_one_ratio_alone_settles_nothing_but_a_refutation(evaluations: Evaluations) -> None:
    grid(
        evaluations, {("both", 0.25): 42, ("calibration", 0.25): 30, ("activation_norm", 0.25): 30}
    )
    assert verdicts(evidence(evaluations, domains=("sciq",)))["both_best"] == NOT_RUN


def test_final_mem_is_compared_where_all_chains_went_and_as_far_as_all(
    evaluations: Evaluations,
) -> None:
    """Other domains have the chain of Table 2 only; in sciq that of `both` goes on further."""
    sizes = {(c, r): 36 if c == "both" else 30 for c in CRITERIA for r in RATIOS}
    grid(evaluations, sizes)
    add(evaluations, "medmcqa", 80, {30: 20, 36: 20, 42: 20})
    recipe = TRIMMED.format(criterion="both", ratio="0.25", dropped=48)
    evaluations.add(recipe, 79, kept=12)
    published_as = {"name": "tiny", "published": "llama-7b"}
    found = {
        one["id"]: one
        for one in claims.check_all(evidence(evaluations, model=published_as), CHECKS)
    }
    best, quarter = found["both_best"], found["r_quarter_best"]
    # One domain is not the paper's claim, on whatever model.
    assert best["verdict"] == SHAPE_ONLY and best["measured"].startswith("in sciq: ")
    assert best["numbers"]["kept_percent"]["r=0.25"]["both"] == pytest.approx(40)
    assert quarter["verdict"] == NOT_REPRODUCED
    assert set(quarter["numbers"]["kept_percent"].values()) == {40}


@pytest.mark.parametrize(
    "sparse, chain, expected",
    [(0.6, 0.4, SHAPE_ONLY), (0.8, 0.4, NOT_REPRODUCED), (0.6, 0.6, NOT_REPRODUCED)],
)
def test_training_time(tmp_path: Path, sparse: float, chain: float, expected: str) -> None:
    epochs = [
        {**one, "training": {**one["training"], "seconds": 10 * chain}} for one in plain_chain()
    ]
    records = [write_chain(tmp_path, epochs)]
    trainings = [
        write_training(tmp_path, "full_ft", 10.0),
        write_training(tmp_path, "sparse_ft", 10.0 * sparse),
    ]
    found = verdicts(evidence(records=records, trainings=trainings))
    assert found["training_time"] == expected
    # 12.25 epochs times 0.6 are 7.35, not 5.
    assert found["two_per_epoch"] == NOT_REPRODUCED


def timings(root: Path, awq: float, trimmed: float) -> list[Path]:
    """Full model at 10 tokens/s beside AWQ and the trimmed model."""
    paths = []
    for recipe, rate in (
        ("full_ft", 10.0),
        ("full_ft+awq_int4", awq),
        ("trim_both_r0.25_d6/drop_30", trimmed),
    ):
        path = bench(root, recipe, rate)
        if recipe != "full_ft":
            content = read_json(path)
            kept = 30 if recipe.startswith("trim") else 60
            ratio = {"median": rate / 10, "q1": rate / 10, "q3": rate / 10}
            full = {"bytes": {"units": 2, "total": 4}}
            path.write_text(
                json.dumps(content | {"units_kept": kept, "baseline": full, "speedup": ratio})
            )
        paths.append(path)
    return paths


def test_speed_claims(tmp_path: Path) -> None:
    fast = verdicts(evidence(timings=timings(tmp_path / "fast", awq=12, trimmed=32)))
    assert fast["speedup_consumer"] == fast["speedup_a100"] == SHAPE_ONLY
    slow = verdicts(evidence(timings=timings(tmp_path / "slow", awq=12, trimmed=20)))
    assert slow["speedup_consumer"] == slow["speedup_a100"] == NOT_REPRODUCED
    assert slow["compression_8x"] == NOT_RUN


def test_files_hold_verdicts_sources_and_inconsistencies(
    evaluations: Evaluations, tmp_path: Path
) -> None:
    add(evaluations, "sciq", 80, {30: 75})
    found = evidence(evaluations)
    claims.write([claims.report(found, CHECKS)], found.sources, tmp_path / "claims")
    told = read_json(tmp_path / "claims.json")
    assert len(told["models"][0]["claims"]) == len(published.claims())
    assert told["sources"] == [path.as_posix() for path in sorted(evaluations.paths)]
    text = (tmp_path / "claims.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(published.claims())
    assert all(line.count("|") == 5 for line in rows)
    assert text.count("\n- ") == len(published.inconsistencies())
    assert "Measured here" in text
    assert told["models"][0]["seeds"] == [0] and "\nSeed: 0.\n" in text


def test_the_inconsistencies_are_in_the_published_numbers() -> None:
    """What is said of the paper holds for the numbers that we took from it."""
    two, three = published.table("table2"), published.table("table3")
    assert two.value("sparse_ft", "lexglue", "llama-7b") == 43.4
    assert three.value("sparse_ft", "lexglue") == 43.3
    one, seven = published.table("table1"), published.table("table7")
    assert one.value("trimllm", "throughput", "A100") == seven.value("trimllm", "throughput")
    assert one.value("trimllm", "mem", "A100") != seven.value("trimllm", "final_mem")
    six = published.table("table6")
    assert all(
        six.value("calibration", column, "r_1") > six.value("both", column, "r_1")
        for column in ("piqa", "sciq")
    )
    assert published.table("table4").value("lexglue_specialized", "medmcqa") < 25
