"""The paper's headline sentences, each checked on our own measurements by a formula.

A verdict is computed, never typed:

`reproduced`      the formula holds and every number in it is the paper's own model (and hardware)
                  on the paper's own data;
`shape only`      the formula holds on a stand-in;
`not reproduced`  it does not hold;
`not run`         a number in it was not measured.

The checks lie in `claim_checks`, one function a claim of published.yaml; a claim without a check
is an error, so none can be left out silently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trimllm.base.files import write_json, write_text
from trimllm_paper import published
from trimllm_paper.claims.evidence import Evidence
from trimllm_paper.tier import tier, tier_note
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, REPRODUCED, SHAPE_ONLY


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        formula: the check, in symbols that its `measured` names.
        holds: whether it does; None where a number is missing.
        measured: the numbers in it, in words.
        numbers: the same for programs.
        n: documents behind it, where it is about accuracy.
        own: whether all of it is the paper's own; None: as the evidence's model and data are.
        ours: the same formula by our criterion, in words; no verdict hangs on it.
    """

    formula: str
    holds: bool | None
    measured: str
    numbers: dict[str, Any]
    n: int | None = None
    own: bool | None = None
    ours: str = ""


Check = Callable[[Evidence], Finding]


def missing(formula: str, what: str) -> Finding:
    """The finding of a check that lacks a measurement."""
    return Finding(formula, None, f"not run: {what}", {})


def verdict(finding: Finding, own: bool) -> str:
    """The verdict that a finding earns; `own` as in `Finding`."""
    if finding.holds is None:
        return NOT_RUN
    if not finding.holds:
        return NOT_REPRODUCED
    return REPRODUCED if own else SHAPE_ONLY


def check_all(evidence: Evidence, checks: dict[str, Check]) -> list[dict[str, Any]]:
    """Every claim of the paper with its check's finding and verdict, in the paper's order.

    Raises `KeyError` for a claim that has no check.
    """
    found = []
    for claim in published.claims():
        finding = checks[claim["id"]](evidence)
        own = evidence.own if finding.own is None else finding.own
        origin = claim["from"]
        found.append(
            {
                "id": claim["id"],
                "text": claim["text"],
                "from": origin if isinstance(origin, list) else [origin],
                "remark": claim.get("remark"),
                "verdict": verdict(finding, own),
                **asdict(finding),
                "own": own,
            }
        )
    return found


def report(evidence: Evidence, checks: dict[str, Check]) -> dict[str, Any]:
    """All claims of a model, the paper's inconsistencies, and where the numbers come from."""
    found = check_all(evidence, checks)
    verdicts = (REPRODUCED, SHAPE_ONLY, NOT_REPRODUCED, NOT_RUN)
    return {
        "model": evidence.name,
        "label": evidence.model.get("label") or evidence.name,
        "stand_in_model": not evidence.model.get("published"),
        "stand_in_data": {d["name"]: d["stand_in"] for d in evidence.domains if d.get("stand_in")},
        "run": evidence.run.folder("CRITERION"),
        "tier": tier(evidence.sources),
        "seeds": evidence.seeds,
        "claims": found,
        "verdicts": {name: sum(one["verdict"] == name for one in found) for name in verdicts},
        "inconsistencies": list(published.inconsistencies()),
    }


MARKS = {REPRODUCED: "✓", SHAPE_ONLY: "~", NOT_REPRODUCED: "✗", NOT_RUN: "–"}


def to_markdown(reports: list[dict[str, Any]], sources: list[str]) -> str:
    """All claims as one page."""
    out = ["# The paper's claims, checked", "", f"{tier_note(sources)}. {_rules()}", ""]
    for one in reports:
        counts = ", ".join(f"{count} {name}" for name, count in one["verdicts"].items())
        out += [f"## {one['label']}: {counts}", ""]
        if one["seeds"]:
            # claims are checked on one run: those of other seeds are pooled by the tables alone
            out += [f"Seed: {', '.join(map(str, one['seeds']))}.", ""]
        stand_ins = ["the model"] if one["stand_in_model"] else []
        stand_ins += list(one["stand_in_data"])
        if stand_ins:
            out += [f"Stand-ins: {', '.join(stand_ins)}.", ""]
        out += ["| claim of the paper | check | measured | verdict |", "|---|---|---|---|"]
        for claim in one["claims"]:
            origin = ", ".join(claim["from"])
            measured = claim["measured"] + (f" (n = {claim['n']})" if claim["n"] else "")
            if claim["ours"]:
                measured += f"; by likelihood (ours): {claim['ours']}"
            cells = (
                f"{claim['text']} ({origin})",
                claim["formula"],
                measured,
                f"{MARKS[claim['verdict']]} {claim['verdict']}",
            )
            out.append("| " + " | ".join(map(_cell, cells)) + " |")
        out.append("")
    out += ["## Inconsistencies in the paper itself", ""]
    out += [f"- {_cell(text)}" for text in published.inconsistencies()]
    return "\n".join(out) + "\n"


def _rules() -> str:
    return (
        "Verdicts are computed: ✓ reproduced, the check holds on the paper's own model and data; "
        "~ shape only, it holds on a stand-in; ✗ not reproduced, it does not hold; – not run, a "
        "number in it was not measured. The checks are in src/trimllm/paper/claims/claim_checks.py."
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;").replace("*", "\\*")


def write(reports: list[dict[str, Any]], sources: list[str], stem: str | Path) -> None:
    """STEM.md and STEM.json, each whole or not at all."""
    write_text(f"{stem}.md", to_markdown(reports, sources))
    write_json(f"{stem}.json", {"models": reports, "sources": sources})
