"""The report of a run on one's own data, an HTML page that opens offline: on the first screen what
a decision needs, below all models, answers side by side, general perplexity."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, StrictUndefined
from matplotlib import rc_context
from matplotlib.figure import Figure

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import derive
from trimllm_paper.derive import Accuracy
from trimllm_paper.figures import style
from trimllm_paper.frames import Frame
from trimllm_paper.intervals import wilson
from trimllm_paper.own.choice import ABOVE, MB, SIZE, measure, nearest_trimmed
from trimllm_paper.recipe import FULL_FT, PRETRAINED, Recipe, place_of
from trimllm_paper.records import Answers, Candidate, Choice, DataReport, Export

PAGE = Path(__file__).with_name("report.html.jinja")
NAMES = {PRETRAINED: "before fine-tuning", FULL_FT: "full fine-tuning"}
Inputs = Mapping[str, Sequence[str]]


class Row(NamedTuple):
    """A row of the table; the pretrained model has the size and speed of the full one."""

    recipe: str
    name: str
    candidate: Candidate
    megabytes: float
    tested: Accuracy
    perplexity: float | None


def write(path: str | Path, inputs: Inputs, context: Mapping[str, Any]) -> None:
    """Write the page, by files of each kind (`Targets.own_report` and `own_chosen`) and
    `Targets.own_context`."""
    page = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    ).from_string(PAGE.read_text(encoding="utf-8"))
    files.write_text(path, page.render(**content(inputs, context)))


def content(inputs: Inputs, context: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of the page's template. Raises `UserError` for a damaged record."""
    choice = Choice.read(inputs["choice"][0])
    answers = {one.recipe: one for one in map(Answers.read, inputs["answers"])}
    export, one, table = Export.read(inputs["export"][0]), choice.chosen, {}
    frame, known = Frame.of(inputs["evaluations"]), {c.recipe: c for c in choice.candidates}
    for recipe in (PRETRAINED, *known):
        tested = derive.accuracy(frame, choice.model, choice.domain, recipe, context["tasks"])
        if tested is None:
            raise UserError(f"{recipe} was not evaluated on every test of {choice.domain}")
        candidate = known.get(recipe, known[FULL_FT])
        size = export.bytes["file"] if recipe == choice.recipe else candidate.bytes
        name = NAMES.get(recipe) or f"trimmed, {Recipe.parse(recipe).dropped} sublayers dropped"
        other = answers[recipe].perplexity if recipe in answers else None
        table[recipe] = Row(recipe, name, candidate, size / MB, tested, other)
    full, chosen = table[FULL_FT], table[choice.recipe]
    near = nearest_trimmed(choice.candidates, one, choice.required)
    beside = answers[near.recipe if near else choice.recipe]
    interval = None if one.free else wilson(one.accuracy * one.documents / 100, one.documents)
    return {
        **context,
        "choice": choice,
        "full": full,
        "chosen": chosen,
        "confirmed": confirmation(choice, chosen.tested, full.tested),
        "held_back_interval": interval,  # of the accuracy that it was chosen by
        "not_learned": not_learned(full.tested, table[PRETRAINED].tested),
        "table": [*table.values()],
        "chart": chart(choice, table),
        "beside": "nearest trimmed model" if near else "chosen model",
        "documents": list(zip(answers[FULL_FT].documents, beside.documents, strict=True)),
        "measure": "F1" if one.free else "accuracy",
        "held_back": measure(one),
        "neutral_tokens": beside.tokens,
        "splits": DataReport.read(inputs["data"][0]).splits,
        "serve": serving(Path(inputs["export"][0])),
    }


def confirmation(choice: Choice, chosen: Accuracy, full: Accuracy) -> tuple[str, str]:
    """Whether tests confirm the required accuracy ("yes", "no", "open"; "" if none is required),
    and the comparison in words."""
    share = chosen.percent / full.percent if full.percent else 0.0
    comparison = f"{share:.0%} of full fine-tuning's {full.percent:.1f}%"
    if ABOVE not in choice.required or choice.recipe == FULL_FT:
        return "", comparison
    over = chosen.minus(full, choice.required[ABOVE] / 100)
    answer = "yes" if over.low > 0 else "no" if over.high < 0 else "open"
    bar = f"{choice.required[ABOVE]:g}% of it"
    over_bar = f"{over.points:+.1f} points over {bar} ({over.low:+.1f} to {over.high:+.1f})"
    return answer, f"{comparison}; {over_bar}"


def not_learned(full: Accuracy, plain: Accuracy) -> str:
    """If full fine-tuning is no better than the pretrained model: both values; else ""."""
    if full.free:
        now, before = (one.free["perplexity"] or 0.0 for one in (full, plain))
        better, values = now < before, f"{now:.1f}, before {before:.1f}"
        return "" if better else f"perplexity of the right answers {values}"
    better = full.percent > plain.percent
    return "" if better else f"accuracy {full.percent:.1f}%, before {plain.percent:.1f}%"


def chart(choice: Choice, table: Mapping[str, Row]) -> str:
    """Accuracy on tests against size, as SVG."""
    limit = {"color": "#D55E00", "linestyle": "--", "linewidth": 1}
    with rc_context(style.SETTINGS):
        drawn = Figure(figsize=(4.6, 3.0), layout="constrained")
        ax = drawn.subplots()
        for one in table.values():
            color = "#0072B2" if one.recipe == choice.recipe else "#333333"
            bars = style.errors([one.tested.percent], [one.tested.ci95])
            place = one.megabytes, one.tested.percent
            ax.errorbar(*place, bars, marker="o", color=color)
            label = NAMES.get(one.recipe, f"{one.candidate.units_kept} sublayers")
            ax.annotate(label, place, (4, 3), textcoords="offset points", color=color, fontsize=6)
        if SIZE in choice.required:
            ax.axvline(choice.required[SIZE], **limit)
        if ABOVE in choice.required and not choice.chosen.free:  # free answers: another metric
            ax.axhline(choice.required[ABOVE] / 100 * table[FULL_FT].tested.percent, **limit)
        metric = "F1 of words" if choice.chosen.free else "accuracy"
        ax.set(xlabel="size (MB)", ylabel=f"{metric} on test documents (%)")
        out = io.StringIO()
        drawn.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    label = '<svg role="img" aria-label="accuracy against size" '
    return label + out.getvalue().partition("<svg ")[2]


def serving(record: Path) -> dict[str, str]:
    """Purpose -> command that serves the export with this record."""
    folder = record.parent
    if gguf := next(folder.glob("*.gguf"), None):
        ours = f"trimllm serve {place_of(record).results}"
        return {"Serve it with this project": ours, "With llama.cpp": f"llama-server -m {gguf}"}
    own_code = any(folder.glob("modeling_*.py"))
    return {"With vLLM": f"vllm serve {folder}{' --trust-remote-code' if own_code else ''}"}
