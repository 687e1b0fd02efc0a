"""Claims judged and written. A verdict is computed, never typed:

`reproduced`      the formula holds and every number in it is the paper's own model (and hardware)
                  on the paper's own data;
`shape only`      the formula holds on a stand-in;
`not reproduced`  it does not hold;
`not run`         a number in it was not measured.

A claim of published.yaml without a check is an error, so none can be left out silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment

from trimllm.base.files import write_json, write_text
from trimllm_paper import published
from trimllm_paper.claims import accuracy, speed, units
from trimllm_paper.claims.evidence import CLAIMS, OURS, Evidence
from trimllm_paper.context import Context
from trimllm_paper.frame import Frame, where
from trimllm_paper.recipe import run_folder
from trimllm_paper.tier import tier, tier_note
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, REPRODUCED, SHAPE_ONLY

GROUPS = (speed, accuracy, units)
"""Whose import enters their checks."""
MARKS = {REPRODUCED: "✓", SHAPE_ONLY: "~", NOT_REPRODUCED: "✗", NOT_RUN: "–"}
PAGE = Path(__file__).with_name("claims.md.jinja")


def judge(evidence: Evidence, sentence: dict[str, Any]) -> dict[str, Any]:
    """A claim of published.yaml with what its check finds. Raises `KeyError` for one without."""
    formula, check, asks_ours = CLAIMS[sentence["id"]]
    found = check(evidence)
    own = evidence.context.own if found.own is None else found.own
    holds = REPRODUCED if own else SHAPE_ONLY
    verdict = {None: NOT_RUN, False: NOT_REPRODUCED, True: holds}[found.holds]
    ours = check(replace(evidence, criterion=OURS)).told if asks_ours else found.ours
    origin = sentence["from"]
    return {
        **{key: sentence.get(key) for key in ("id", "text", "remark")},
        "from": origin if isinstance(origin, list) else [origin],
        "formula": formula,
        "measured": f"{found.before}{found.told}{found.after}",
        **{key: getattr(found, key) for key in ("holds", "numbers", "n")},
        **{"own": own, "ours": ours, "verdict": verdict},
    }


def report(frame: Frame, context: Context, sources: Sequence[str]) -> dict[str, Any]:
    """All claims of a model in the paper's order, and where the numbers come from."""
    found = [judge(Evidence(frame, context), sentence) for sentence in published.claims()]
    return {
        "model": context.model.name,
        "label": context.model.label,
        "stand_in_model": not context.model.published,
        "stand_in_data": {one.name: one.stand_in for one in context.domains if one.stand_in},
        "run": run_folder(context.main.name),
        "tier": tier(sources),
        "seeds": sorted(set(where(frame.evaluations, model=context.model.name).seed)),
        "claims": found,
        "verdicts": {name: sum(one["verdict"] == name for one in found) for name in MARKS},
        "inconsistencies": list(published.inconsistencies()),
    }


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;").replace("*", "\\*")


def write(frame: Frame, contexts: Sequence[Context], stem: str | Path) -> None:
    """STEM.md and STEM.json, each whole or not at all.

    Args:
        frame: evaluations, epochs, trainings and timings of all models, of one seed each: claims
            are checked on one run, those of other seeds are pooled by the tables alone.
        contexts: one a model.
    """
    frames = (frame.evaluations, frame.epochs, frame.trainings, frame.timings)
    sources = [source for one in frames for source in dict.fromkeys(one.source)]
    models = [report(frame, context, sources) for context in contexts]
    environment = Environment(keep_trailing_newline=True)
    environment.filters["cell"] = _cell
    page = environment.from_string(PAGE.read_text(encoding="utf-8"))
    told = {"tier": tier_note(sources), "inconsistencies": published.inconsistencies()}
    write_text(f"{stem}.md", page.render(models=models, marks=MARKS, **told))
    write_json(f"{stem}.json", {"models": models, "sources": sources})
