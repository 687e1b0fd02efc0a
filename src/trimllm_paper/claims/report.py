"""Verdicts of the claims, written as a page and as a table. A verdict is computed, never typed:

`reproduced`, `not reproduced`: on the paper's own model, data and hardware the claim holds, or not;
`seen on the stand-in`, `not seen on the stand-in`: elsewhere it holds, or not;
`undecided`: the intervals contain both answers;
`not run`: a number that it needs was not measured, and no other refutes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from pandas import DataFrame

from trimllm.base.files import write_text
from trimllm_paper import published, verdict
from trimllm_paper.claims import accuracy, speed, sublayers
from trimllm_paper.claims.evidence import Evidence, Finding, holm
from trimllm_paper.context import Context
from trimllm_paper.frames import Frame
from trimllm_paper.tier import tier_note
from trimllm_paper.verdict import COLLAPSED, NOT_RUN, word

OURS = "likelihood"
"""Criterion of our recipe, of which claims on a recipe are asked, too."""
MARKS = {name: mark for name, mark in verdict.MARKS.items() if name != COLLAPSED} | {NOT_RUN: "–"}
CHECKS: dict[str, Callable[[Evidence], Finding]] = {
    name: getattr(room, name)
    for room in (accuracy, speed, sublayers)
    for name in (claim["id"] for claim in published.claims())
    if hasattr(room, name)
}
"""Claim of published.yaml -> its check, the function of that name."""
HEAD = """# The paper's claims, checked

{tier}. Verdicts: {marks}. They are computed from intervals of 95% over documents and seeds, over \
domains, chains or rounds; failures among several comparisons are corrected by Holm. A claim links \
to its comparisons below; claims.csv has them as data, src/trimllm_paper/claims the checks, \
[contradictions.md](contradictions.md) what in the paper contradicts the paper.
"""


@dataclass(frozen=True)
class Judged:
    """A claim of published.yaml, the finding of its check for a recipe, and the verdict.

    `recipe` is "paper", or "ours" where the check was made of our recipe's chains.
    """

    claim: dict[str, Any]
    recipe: str
    finding: Finding
    verdict: str


def judge(evidence: Evidence, claim: dict[str, Any]) -> Judged:
    """Judge a claim. Raises `KeyError` for one without a check."""
    finding = CHECKS[claim["id"]](evidence)
    not_run = finding.missing and finding.holds is None
    recipe = "ours" if evidence.criterion == OURS else "paper"
    verdict = NOT_RUN if not_run else word(finding.holds, own=finding.own)
    return Judged(claim, recipe, finding, verdict)


def judge_all(frame: Frame, context: Context) -> list[Judged]:
    """All claims in the paper's order; after those on a recipe the same of ours, if it was run."""
    judged, evidence = [], Evidence(frame, context)
    for claim in published.claims():
        judged.append(judge(evidence, claim))
        if claim.get("of_recipes"):
            ours = judge(replace(evidence, criterion=OURS), claim)
            judged += [ours] if ours.finding.comparisons else []
    return judged


def write(frame: Frame, contexts: Sequence[Context], stem: str | Path) -> None:
    """STEM.md, and STEM.csv with every comparison.

    Args:
        frame: timings are of one run, everything else may be of several seeds.
        contexts: one a model.
    """
    tables = (frame.evaluations, frame.epochs, frame.trainings, frame.timings, frame.engines)
    sources = [source for one in tables for source in dict.fromkeys(one.source)]
    marks = ", ".join(f"{mark} {name}" for name, mark in MARKS.items())
    page, table = [HEAD.format(tier=tier_note(sources), marks=marks)], []
    for context in contexts:
        judged = judge_all(frame, context)
        page += [context.named(line) for line in _page(context, judged)]
        for one in judged:
            head = {"model": context.model.name, "claim": one.claim["id"], "recipe": one.recipe}
            head |= {"verdict": one.verdict, "missing": one.finding.missing}
            each = zip(one.finding.comparisons, holm(one.finding.comparisons), strict=True)
            table += [head | asdict(x) | {"holds": holds} for x, holds in each] or [head]
    write_text(f"{stem}.md", "\n".join([*page, ""]))
    write_text(f"{stem}.csv", DataFrame(table).to_csv(index=False, float_format="%.6g"))


def _page(context: Context, judged: Sequence[Judged]) -> list[str]:
    """A row for each claim of a model, and beneath the table a section for each."""
    counts = Counter(one.verdict for one in judged if one.recipe == "paper")
    totals = ", ".join(f"{counts[name]} {name}" for name in MARKS if counts[name])
    stand_ins = ["the model"] if not context.model.published else []
    stand_ins += [one.name for one in context.domains if one.stand_in]
    stand_ins += ["adapters for full fine-tuning"] if context.lora else []
    rows = ["| claim of the paper | verdict | measured |", "|---|---|---|"]
    sections = []
    for one in judged:
        heading = f"{one.claim['id']} {context.model.name}"
        if one.recipe == "paper":
            link = f"[{one.claim['text']}](#{heading.replace(' ', '-').replace('.', '')})"
            rows.append(f"| {link} | {MARKS[one.verdict]} {one.verdict} | {number(one.finding)} |")
            origin = str(one.claim["from"]).strip("[]").replace("'", "")
            sections += [f"### {heading}", "", f"{one.claim['text']} ({origin}).", ""]
            sections += [f"Check: {one.claim['check']}.", ""]
            against = published.contradictions(claim=one.claim["id"])
            sections += [f"In the paper itself: {each['text']}\n" for each in against]
        sections += _section(one)
    stand_in = f"Stand-ins: {', '.join(stand_ins)}.\n" if stand_ins else ""
    return [f"## {context.model.label}: {totals}\n", stand_in, *rows, "", *sections]


def number(finding: Finding) -> str:
    """The comparisons in a few words: their range by unit, and how many hold and fail."""
    answers, parts = holm(finding.comparisons), []
    for _, group in groupby(finding.comparisons, key=lambda one: one.unit):
        each = sorted(group, key=lambda one: one.value)
        ends = dict.fromkeys(f"{one.value:.3g}" for one in (each[0], each[-1]))
        parts.append(each[0].with_unit(" to ".join(ends)))
    if len(answers) > 1:
        parts.append(f"{answers.count(True)} of {len(answers)} hold, {answers.count(False)} fail")
    return "; ".join(parts) or f"missing: {finding.missing}"


def _section(one: Judged) -> list[str]:
    """The finding for a recipe, as a sentence and a table of comparisons."""
    finding = one.finding
    missing = f"Not run: {finding.missing}." if finding.missing else ""
    recipe = "the paper's recipe" if one.recipe == "paper" else "our recipe"
    summary = f"With {recipe} {MARKS[one.verdict]} {one.verdict}. {missing} {finding.note}"
    lines = [" ".join(summary.split()), ""]
    if finding.comparisons:
        lines += ["| comparison | measured | holds | of |", "|---|---|---|---|"]
    for x, holds in zip(finding.comparisons, holm(finding.comparisons), strict=True):
        interval = "" if x.low is None or x.low == x.high else f" ({x.low:.2f} to {x.high:.2f})"
        answer = {True: "yes", False: "no", None: "?"}[holds]
        measured = x.with_unit(f"{x.value:.2f}") + interval
        lines.append(f"| {x.name} | {measured} | {answer} | {x.basis} |")
    return [*lines, ""] if finding.comparisons else lines


def write_contradictions(path: str | Path) -> None:
    """The page of what in the paper contradicts the paper."""
    lines = ["# What in the paper contradicts the paper", ""]
    for one in published.contradictions():
        places = ", ".join(f"{value:g} in {place}" for place, value in one["numbers"].items())
        lines.append(f"- {one['text']} ({places or 'sections 3.4 and A.5'})")
    write_text(path, "\n".join([*lines, ""]))
