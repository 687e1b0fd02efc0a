"""Claims judged and written. A verdict is computed, never typed:

`reproduced`, `not reproduced`  the formula holds, or not, and every number in it is the paper's own
                                model (and hardware) on the paper's own data;
`seen on the stand-in`, `not seen on the stand-in`  it holds, or not, elsewhere;
`undecided`                     the intervals hold both answers;
`not run`                       a number in it was not measured, and nothing refutes it without.

A claim of published.yaml without a check is an error, so none can be left out silently.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment

from trimllm.base.files import write_json, write_text
from trimllm_paper import published, verdict
from trimllm_paper.claims import accuracy, speed, units
from trimllm_paper.claims.evidence import CLAIMS, OURS, Evidence, Finding
from trimllm_paper.context import BY_LORA, Context
from trimllm_paper.frames import Frame, where
from trimllm_paper.intervals import Difference
from trimllm_paper.recipe import run_folder
from trimllm_paper.tier import tier, tier_note
from trimllm_paper.verdict import COLLAPSED, NOT_RUN, word

GROUPS = (speed, accuracy, units)
"""Whose import enters their checks."""
MARKS = {name: mark for name, mark in verdict.MARKS.items() if name != COLLAPSED} | {NOT_RUN: "–"}
PAGE = Path(__file__).with_name("claims.md.jinja")


def judge(evidence: Evidence, sentence: dict[str, Any]) -> dict[str, Any]:
    """A claim of published.yaml with what its check finds. Raises `KeyError` for one without."""
    formula, check, asks_ours = CLAIMS[sentence["id"]]
    found, named = check(evidence), evidence.context.named

    def is_own(one: Finding) -> bool:
        return evidence.context.own if one.own is None else one.own

    def judged(one: Finding) -> str:
        return NOT_RUN if one.missing and one.holds is None else word(one.holds, own=is_own(one))

    def told(one: Finding) -> str:
        lacking = f"not run: {one.missing}" if one.missing else ""
        return "; ".join(filter(None, [f"{one.before}{one.told}{one.after}", lacking]))

    own, ours, origin = is_own(found), found.ours, sentence["from"]
    if asks_ours and (likewise := check(replace(evidence, criterion=OURS))).told:
        ours = f"{judged(likewise)}, {told(likewise)}"
    return {
        **{key: sentence.get(key) for key in ("id", "text", "remark")},
        "from": origin if isinstance(origin, list) else [origin],
        "formula": named(formula),
        "measured": named(told(found)),
        **{key: getattr(found, key) for key in ("holds", "numbers", "n", "counted", "seeds")},
        "differences": {name: _plain(one) for name, one in found.differences.items()},
        **{"own": own, "ours": named(ours), "verdict": judged(found)},
        "against_itself": [one["text"] for one in published.contradictions(claim=sentence["id"])],
    }


def _plain(one: Difference) -> dict[str, Any]:
    """A difference as JSON has it: an end that is not known is null."""
    return {k: None if v in (-math.inf, math.inf) else v for k, v in asdict(one).items()}


def report(frame: Frame, context: Context, sources: Sequence[str]) -> dict[str, Any]:
    """All claims of a model in the paper's order, and where the numbers come from."""
    found = [judge(Evidence(frame, context), sentence) for sentence in published.claims()]
    return {
        "model": context.model.name,
        "label": context.model.label,
        "stand_in_model": not context.model.published,
        "stand_in_data": {one.name: one.stand_in for one in context.domains if one.stand_in},
        **({"stand_in_full_ft": BY_LORA} if context.lora else {}),
        "run": run_folder(context.main.name),
        "tier": tier(sources),
        "seeds": sorted(set(where(frame.evaluations, model=context.model.name).seed)),
        "claims": found,
        "verdicts": {name: sum(one["verdict"] == name for one in found) for name in MARKS},
    }


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;").replace("*", "\\*")


def write(frame: Frame, contexts: Sequence[Context], stem: str | Path) -> None:
    """STEM.md and STEM.json, each whole or not at all.

    Args:
        frame: evaluations, epochs, trainings and timings of all models. Timings are of one run; all
            else may be of several seeds.
        contexts: one a model.
    """
    frames = (frame.evaluations, frame.epochs, frame.trainings, frame.timings, frame.engines)
    sources = [source for one in frames for source in dict.fromkeys(one.source)]
    models = [report(frame, context, sources) for context in contexts]
    environment = Environment(keep_trailing_newline=True)
    environment.filters["cell"] = _cell
    page = environment.from_string(PAGE.read_text(encoding="utf-8"))
    told = {"tier": tier_note(sources), "against": len(published.contradictions())}
    write_text(f"{stem}.md", page.render(models=models, marks=MARKS, **told))
    write_json(f"{stem}.json", {"models": models, "sources": sources})


def write_contradictions(path: str | Path) -> None:
    """The page of what in the paper contradicts the paper."""
    lines = ["# What in the paper contradicts the paper", ""]
    lines += ["| what | numbers and where they stand | speaks against the claim |", "|---|---|---|"]
    for one in published.contradictions():
        numbers = "; ".join(f"{value:g}: {place}" for place, value in one["numbers"].items())
        lines.append(f"| {one['text']} | {numbers or '–'} | {', '.join(one.get('claims', '–'))} |")
    write_text(path, "\n".join([*lines, ""]))
