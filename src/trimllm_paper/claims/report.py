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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment

from trimllm.base.files import write_json, write_text
from trimllm_paper import published
from trimllm_paper.claims import accuracy, criteria, speed, times, units
from trimllm_paper.claims.evidence import CHECKS, Evidence, Finding
from trimllm_paper.context import Context
from trimllm_paper.frame import Frame, where
from trimllm_paper.recipe import run_folder
from trimllm_paper.tier import tier, tier_note
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, REPRODUCED, SHAPE_ONLY

GROUPS = (speed, accuracy, units, criteria, times)
"""Whose import enters their checks."""
MARKS = {REPRODUCED: "✓", SHAPE_ONLY: "~", NOT_REPRODUCED: "✗", NOT_RUN: "–"}
PAGE = """\
# The paper's claims, checked

{{ tier }}. Verdicts are computed: ✓ reproduced, the check holds on the paper's own model and \
data; ~ shape only, it holds on a stand-in; ✗ not reproduced, it does not hold; – not run, a \
number in it was not measured. The checks are in src/trimllm_paper/claims.

{% for one in models -%}
## {{ one.label }}: {% for name, count in one.verdicts.items() %}{{ count }} {{ name }}\
{{ ", " if not loop.last }}{% endfor %}

{% if one.seeds %}Seed: {{ one.seeds | join(", ") }}.

{% endif %}{% if one.stand_ins %}Stand-ins: {{ one.stand_ins | join(", ") }}.

{% endif %}| claim of the paper | check | measured | verdict |
|---|---|---|---|
{% for claim in one.claims -%}
| {{ claim.text | cell }} ({{ claim.from | join(", ") }}) | {{ claim.formula | cell }} \
| {{ claim.measured | cell }}{% if claim.n %} (n = {{ claim.n }}){% endif %}\
{% if claim.ours %}; by likelihood (ours): {{ claim.ours | cell }}{% endif %} \
| {{ marks[claim.verdict] }} {{ claim.verdict }} |
{% endfor %}
{% endfor %}## Inconsistencies in the paper itself

{% for text in inconsistencies %}- {{ text | cell }}
{% endfor %}"""


def verdict(finding: Finding, own: bool) -> str:
    """The verdict that a finding earns; `own` as in `Finding`."""
    if finding.holds is None:
        return NOT_RUN
    if not finding.holds:
        return NOT_REPRODUCED
    return REPRODUCED if own else SHAPE_ONLY


def report(frame: Frame, context: Context, sources: Sequence[str]) -> dict[str, Any]:
    """All claims of a model in the paper's order, with their checks' findings and verdicts.

    Raises `KeyError` for a claim that has no check.
    """
    evidence, found = Evidence(frame, context), []
    for claim in published.claims():
        formula, check = CHECKS[claim["id"]]
        one = check(evidence)
        own = context.own if one.own is None else one.own
        origin = claim["from"] if isinstance(claim["from"], list) else [claim["from"]]
        told = {key: claim.get(key) for key in ("id", "text", "remark")} | {"from": origin}
        judged = {"formula": formula, "own": own, "verdict": verdict(one, own)}
        found.append(told | asdict(one) | judged)
    return {
        "model": context.model.name,
        "label": context.model.label,
        "stand_in_model": not context.model.published,
        "stand_in_data": {one.name: one.stand_in for one in context.domains if one.stand_in},
        "run": run_folder(context.main.name),
        "tier": tier(sources),
        "seeds": sorted(
            {int(seed) for seed in where(frame.evaluations, model=context.model.name).seed}
        ),
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
    shown = [
        one | {"stand_ins": ["the model"] * one["stand_in_model"] + list(one["stand_in_data"])}
        for one in models
    ]
    environment = Environment(keep_trailing_newline=True)
    environment.filters["cell"] = _cell
    page = environment.from_string(PAGE).render(
        models=shown,
        tier=tier_note(sources),
        marks=MARKS,
        inconsistencies=published.inconsistencies(),
    )
    write_text(f"{stem}.md", page)
    write_json(f"{stem}.json", {"models": models, "sources": sources})
