"""The paper's headline sentences, each checked on measurements.

A claim has its sentence and its check in words in `published.yaml`, and one function of the same
name in `checks`, which returns comparisons with p-values (`evidence`). Its verdict is computed from
them:

`reproduced`, `not reproduced`: on the paper's own model, data and hardware the claim holds, or not;
`seen on the stand-in`, `not seen on the stand-in`: elsewhere it holds, or not;
`undecided`: the intervals contain both answers;
`not run`: a number that it needs was not measured, and no other refutes it.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby, product
from pathlib import Path

from pandas import DataFrame

from trimllm.base.files import write_text
from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import published, verdict
from trimllm_paper.claims import checks
from trimllm_paper.claims.evidence import Evidence, Finding, holm
from trimllm_paper.context import STAND_IN_FOR, Context
from trimllm_paper.frames import Frame, tier_note
from trimllm_paper.recipe import RANDOM
from trimllm_paper.verdict import COLLAPSED, NOT_RUN

RECIPES = {"paper": PAPER_CRITERION, "ours": "likelihood"}
"""Recipe -> its criterion. Claims on a recipe are judged for ours, too, if it was run."""
MARKS = {name: mark for name, mark in verdict.MARKS.items() if name != COLLAPSED} | {NOT_RUN: "–"}
HEAD = """# The paper's claims, checked

{tier}. Verdicts: {marks}. They are computed from intervals of 95% over documents and seeds, over \
domains, chains or rounds; failures among several comparisons are corrected by Holm's procedure. \
[claims.csv](claims.csv) has every comparison with its interval, src/trimllm_paper/claims the \
checks, [contradictions.md](contradictions.md) what in the paper contradicts the paper.
"""


def write(frame: Frame, contexts: Sequence[Context], stem: str | Path) -> None:
    """STEM.md, and STEM.csv with every comparison; a context a model. Timings are of one run,
    everything else may be of several seeds."""
    tables = (frame.evaluations, frame.epochs, frame.trainings, frame.timings, frame.engines)
    tier = tier_note([source for one in tables for source in one.source])
    marks = ", ".join(f"{mark} {name}" for name, mark in MARKS.items())
    page, table = [HEAD.format(tier=tier, marks=marks)], []
    for context in contexts:
        lines, counts = [], Counter[str]()
        for claim, (recipe, criterion) in product(published.CLAIMS, RECIPES.items()):
            if recipe == "ours" and not claim.get("of_recipes"):
                continue
            text, check = "", getattr(checks, claim["id"])
            one = check(Evidence(frame, context, criterion))
            if recipe == "paper":
                text = f"{claim['text']} ({', '.join(claim['from'])})"
                counts[one.verdict] += 1
            elif not one.comparisons:
                continue
            lines.append([text, recipe, f"{MARKS[one.verdict]} {one.verdict}", _measured(one)])
            head = {"model": context.model.name, "claim": claim["id"], "recipe": recipe}
            head |= {"verdict": one.verdict, "missing": "; ".join(one.missing)}
            each = zip(one.comparisons, holm(one.comparisons), strict=True)
            table += [head | vars(x) | {"holds": holds} for x, holds in each] or [head]
        totals = ", ".join(f"{counts[name]} {name}" for name in MARKS if counts[name])
        heads = ["claim of the paper", "recipe", "verdict", "measured"]
        grid = DataFrame(lines, columns=heads).to_markdown(index=False, tablefmt="github")
        stand_ins = [] if context.model.published else ["the model"]
        stand_ins += [one.name for one in context.domains if one.stand_in]
        stand_ins += sorted({*frame.timings.hardware} - {*checks.CONSUMER, *checks.A100})
        shapes = {one for one in frame.timings.model if one.startswith(RANDOM)}
        stand_ins += sorted(shapes - {f"{RANDOM}{STAND_IN_FOR}"})
        stand_ins += ["adapters for full fine-tuning"] if context.lora else []
        names = ", ".join(stand_ins) or "none"
        parts = (f"## {context.model.label}: {totals}", f"\nStand-ins: {names}.\n", grid, "")
        page += [context.named(part) for part in parts]
    page += ["## How each claim is checked\n"]
    page += [f"- {claim['text']}: {claim['check']}" for claim in published.CLAIMS]
    write_text(f"{stem}.md", "\n".join([*page, ""]))
    write_text(f"{stem}.csv", DataFrame(table).to_csv(index=False, float_format="%.6g"))


def _measured(finding: Finding) -> str:
    """Range of the comparisons by unit, how many hold and fail, and what is missing."""
    answers, parts = holm(finding.comparisons), []
    for unit, group in groupby(finding.comparisons, key=lambda one: one.unit):
        values = sorted(one.value for one in group)
        ends = dict.fromkeys(f"{value:.3g}" for value in (values[0], values[-1]))
        parts.append(f"{' to '.join(ends)} {unit}".replace(" %", "%"))
    if len(answers) > 1:
        parts.append(f"{answers.count(True)} of {len(answers)} hold, {answers.count(False)} fail")
    parts += [f"not run: {', '.join(finding.missing)}"] if finding.missing else []
    return "; ".join(parts)


def write_contradictions(path: str | Path) -> None:
    """The page of what in the paper contradicts the paper."""
    lines = ["# What in the paper contradicts the paper", ""]
    for one in published.contradictions():
        places = ", ".join(f"{value:g} in {place}" for place, value in one["numbers"].items())
        lines.append(f"- {one['text']} ({places or 'sections 3.4 and A.5'})")
    write_text(path, "\n".join([*lines, ""]))
