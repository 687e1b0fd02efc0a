"""The report of a run on one's own data: an HTML page that opens offline.

The first screen holds what a decision needs: requirements, chosen model, whether its tests confirm
it, size, speed, how to serve it. Below: all models, answers side by side, time, general perplexity.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
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
from trimllm_paper.frames import Frame, rows
from trimllm_paper.integrity.lineage import recorded
from trimllm_paper.intervals import wilson
from trimllm_paper.own.choice import (
    ABOVE,
    MB,
    SIZE,
    facts_in_words,
    in_words,
    measure,
    nearest_trimmed,
)
from trimllm_paper.recipe import FULL_FT, PRETRAINED, Recipe, place_of
from trimllm_paper.records import Answers, Candidate, Choice, DataReport, Export

PAGE = Path(__file__).with_name("report.html.jinja")
NAMES = {PRETRAINED: "before fine-tuning", FULL_FT: "full fine-tuning"}
FEW = 100
"""Held-back documents below which the choice is little more than a guess."""
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
    """Write the page.

    Args:
        inputs: files by kind: `choice`, `evaluations`, `epochs`, `trainings`, `throughput`, `data`,
            `answers` of the pretrained, the full and the chosen model (and of the nearest trimmed
            one, where the full one is chosen), `export`.
        context: labels of `model` and `data`; `tasks`; `stand_in`.
    """
    page = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    ).from_string(PAGE.read_text(encoding="utf-8"))
    files.write_text(path, page.render(**content(inputs, context)))


def content(inputs: Inputs, context: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of the page's template. Raises `UserError` for a damaged record."""
    choice = Choice.read(inputs["choice"][0])
    names = ("evaluations", "epochs", "trainings", "throughput")
    frame = Frame.of(**{name: inputs[name] for name in names})
    answers = {one.recipe: one for one in map(Answers.read, inputs["answers"])}
    export, data = Export.read(inputs["export"][0]), DataReport.read(inputs["data"][0])
    table = recipes(choice, frame, context["tasks"], answers, export)
    shown = {one.recipe: one for one in table}
    full, chosen = shown[FULL_FT], shown[choice.recipe]
    near = nearest_trimmed(choice.candidates, choice.chosen, choice.required)
    beside = answers[near.recipe if near else choice.recipe]
    return {
        **context,
        "choice": choice,
        "wishes": in_words(choice.required),
        "full": full,
        "chosen": chosen,
        "confirmed": confirmation(choice, chosen.tested, full.tested),
        "held_back_interval": held_back_interval(choice),
        "few": choice.chosen.documents < FEW,
        "learned": learned(full.tested, shown[PRETRAINED].tested),
        "table": table,
        "chart": chart(choice, table),
        "beside": "nearest trimmed model" if near else "chosen model",
        "documents": list(zip(answers[FULL_FT].documents, beside.documents, strict=True)),
        "free": choice.chosen.free,
        "measure": "F1" if choice.chosen.free else "accuracy",
        "held_back": measure(choice.chosen),
        "near": near and f"{name_of(near.recipe)}: {facts_in_words(near, choice.candidates[0])}",
        "perplexities": [(name_of(r), one.perplexity) for r, one in answers.items()],
        "neutral_tokens": beside.tokens,
        "splits": {name: one.documents for name, one in data.splits.items()},
        "serve": serving(Path(inputs["export"][0])),
        "format": export.format,
        "spent": spent(frame, [*inputs["answers"], *inputs["export"]]),
        "machine": machine(frame),
    }


def name_of(recipe: str) -> str:
    """What the report calls a checkpoint."""
    parsed = Recipe.parse(recipe)
    trimmed = f"trimmed, {parsed.dropped} sublayers dropped"
    return NAMES.get(recipe) or (trimmed if parsed.is_trimmed else recipe)


def recipes(
    choice: Choice,
    frame: Frame,
    tasks: Sequence[str],
    answers: Mapping[str, Answers],
    export: Export,
) -> list[Row]:
    """A row for every checkpoint, the pretrained one first."""
    known = {one.recipe: one for one in choice.candidates}
    table = []
    for recipe in (PRETRAINED, *known):
        tested = derive.accuracy(frame, choice.model, choice.domain, recipe, tasks)
        if tested is None:
            raise UserError(f"{recipe} was not evaluated on every test of {choice.domain}")
        one = known.get(recipe, known[FULL_FT])
        size = export.bytes["file"] if recipe == choice.recipe else one.bytes
        other = answers[recipe].perplexity if recipe in answers else None
        table.append(Row(recipe, name_of(recipe), one, size / MB, tested, other))
    return table


def confirmation(choice: Choice, chosen: Accuracy, full: Accuracy) -> tuple[str, str]:
    """Whether tests confirm the required accuracy ("yes", "no", "open"; "" if none is required),
    and the comparison in words."""
    share = chosen.percent / full.percent if full.percent else 0.0
    share_text = f"{share:.0%} of full fine-tuning's {full.percent:.1f}%"
    if ABOVE not in choice.required or choice.recipe == FULL_FT:
        return "", share_text
    over = chosen.minus(full, choice.required[ABOVE] / 100)
    answer = "yes" if over.low > 0 else "no" if over.high < 0 else "open"
    bar = f"{choice.required[ABOVE]:g}% of it"
    return (
        answer,
        f"{share_text}; {over.points:+.1f} points over {bar} ({over.low:+.1f} to {over.high:+.1f})",
    )


def held_back_interval(choice: Choice) -> tuple[float, float] | None:
    """95% interval of the chosen model's accuracy on held-back documents; None of free answers."""
    one = choice.chosen
    return None if one.free else wilson(one.accuracy * one.documents / 100, one.documents)


def learned(full: Accuracy, plain: Accuracy) -> str:
    """If full fine-tuning is no better than the pretrained model: both values; else ""."""
    if full.free:
        now, before = (one.free["perplexity"] or 0.0 for one in (full, plain))
        comparison = f"perplexity of the right answers {now:.1f}, before {before:.1f}"
        return "" if now < before else comparison
    comparison = f"accuracy {full.percent:.1f}%, before {plain.percent:.1f}%"
    return "" if full.percent > plain.percent else comparison


def chart(choice: Choice, table: Sequence[Row]) -> str:
    """Accuracy on tests against size, as SVG."""
    wish = {"color": "#D55E00", "linestyle": "--", "linewidth": 1}
    trimmed = style.CRITERIA["likelihood"] | {"label": "trimmed"}
    before = {"color": "#666666", "marker": "^", "label": NAMES[PRETRAINED]}
    looks = {PRETRAINED: before, FULL_FT: style.FULL_FT | {"label": NAMES[FULL_FT]}}
    with rc_context(style.SETTINGS):
        drawn = Figure(figsize=(4.6, 3.0), layout="constrained")
        ax = drawn.subplots()
        for look in (trimmed, *looks.values()):
            group = [one for one in table if looks.get(one.recipe, trimmed) is look]
            size, percent = [one.megabytes for one in group], [one.tested.percent for one in group]
            bars = style.errors(percent, [one.tested.ci95 for one in group])
            ax.errorbar(size, percent, bars, **look)
        chosen = next(one for one in table if one.recipe == choice.recipe)
        ring = {"s": 170, "facecolors": "none", "edgecolors": "#0072B2", "linewidths": 2}
        ax.scatter([chosen.megabytes], [chosen.tested.percent], label="chosen", zorder=5, **ring)
        if ABOVE in choice.required and not choice.chosen.free:  # free answers: another metric
            full = next(one for one in table if one.recipe == FULL_FT)
            ax.axhline(choice.required[ABOVE] / 100 * full.tested.percent, label="required", **wish)
        if SIZE in choice.required:
            ax.axvline(choice.required[SIZE], **wish)
        metric = "F1 of words" if choice.chosen.free else "accuracy"
        ax.set(xlabel="size (MB)", ylabel=f"{metric} on test documents (%)")
        drawn.legend(loc="outside lower center", ncols=3, fontsize=7, markerscale=0.6)
        out = io.StringIO()
        drawn.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    return svg[svg.index("<svg") :].replace(
        "<svg ", '<svg role="img" aria-label="accuracy against size" ', 1
    )


def serving(record: Path) -> dict[str, str]:
    """Purpose -> command that serves the export with this record."""
    folder = record.parent
    if gguf := next(iter(sorted(folder.glob("*.gguf"))), None):
        return {
            "Serve it with this project": f"trimllm serve {place_of(record).results}",
            "With llama.cpp": f"llama-server -m {gguf}",
        }
    own_code = any(folder.glob("modeling_*.py"))
    trust, flags = (", trust_remote_code=True", " --trust-remote-code") if own_code else ("", "")
    return {
        "With transformers": f'AutoModelForCausalLM.from_pretrained("{folder}"{trust})',
        "With vLLM": f"vllm serve {folder}{flags}",
    }


def spent(frame: Frame, measured: Iterable[str]) -> list[tuple[str, float]]:
    """Minutes of work by stage. Jobs ran side by side: the sum exceeds the elapsed time."""
    epochs, full = frame.epochs, frame.trainings.recipe == FULL_FT
    parts = {
        "full fine-tuning": frame.trainings[full].seconds.sum(),
        "choosing sublayers": epochs.seconds_scan.sum(),
        "training between drops": epochs.seconds_train.sum(),
        "annealing checkpoints": frame.trainings[~full].seconds.sum(),
        "testing": _wall(frame.evaluations.provenance),
        "measuring speed": _wall(frame.timings.provenance),
        "export and its proof, answers": _wall(map(recorded, measured)),
    }
    return [(name, float(seconds) / 60) for name, seconds in parts.items()]


def _wall(provenances: Iterable[Mapping[str, Any]]) -> float:
    """Seconds of jobs; one that left several files counts once."""
    runs = {(p.get("started"), p.get("rule"), p.get("manifest_sha256")): p for p in provenances}
    return sum(one.get("wall_seconds", 0.0) for one in runs.values())


def machine(frame: Frame) -> str:
    """The machine that speed was measured on, in words."""
    hardware = rows(frame.timings)[0].provenance.get("hardware", {})
    processor = hardware.get("gpu") or hardware.get("cpu")
    memory = hardware.get("memory_bytes", 0) / 2**30
    return f"{processor}, {hardware.get('cores')} cores, {memory:.0f} GiB"
