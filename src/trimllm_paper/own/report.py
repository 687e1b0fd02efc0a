"""The report of a run on one's own data: a page that opens offline, on a phone as well.

What was asked and what was chosen, how the others compare, which units went, what full and trimmed
model answer, how to serve it, and what it cost, in time and outside of the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from jinja2 import Environment, StrictUndefined

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import derive
from trimllm_paper.choices import Answers, Choice
from trimllm_paper.data_records import DataReport
from trimllm_paper.frames import Frame, rows, where
from trimllm_paper.integrity.provenance import recorded
from trimllm_paper.own import charts
from trimllm_paper.own.choice import (
    ABOVE,
    MB,
    SIZE,
    SPEED,
    asked_in_words,
    facts_in_words,
    measure,
    nearest_trimmed,
)
from trimllm_paper.recipe import FULL_FT, PRETRAINED, Recipe, place_of
from trimllm_paper.records import Evaluation, Export

PAGE = Path(__file__).with_name("report.html.jinja")
NAMES = {PRETRAINED: "before fine-tuning", FULL_FT: "full fine-tuning"}
Inputs = Mapping[str, Sequence[str]]


def write(path: str | Path, inputs: Inputs, how: Mapping[str, Any]) -> None:
    """Write the page.

    Args:
        inputs: files by kind: `choice`, `evaluations`, `epochs`, `trainings`, `throughput`, `data`,
            `answers` of the pretrained, the full and the chosen model (and of the nearest trimmed
            one, where the full one is chosen), `export`.
        how: `model` and `data`, what they are called; `tasks`; `stand_in`.
    """
    page = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    ).from_string(PAGE.read_text(encoding="utf-8"))
    files.write_text(path, page.render(**content(inputs, how)))


def content(inputs: Inputs, how: Mapping[str, Any]) -> dict[str, Any]:
    """All that the page shows. Raises `UserError` for a file that is not what it should be."""
    choice = Choice.read(inputs["choice"][0])
    names = ("evaluations", "epochs", "trainings", "throughput")
    frame = Frame.of(**{name: inputs[name] for name in names})
    answers = {one.recipe: one for one in map(Answers.read, inputs["answers"])}
    export, data = Export.read(inputs["export"][0]), DataReport.read(inputs["data"][0])
    tested = [Evaluation.read(file) for file in inputs["evaluations"]]
    table = recipes(choice, scores(tested, frame, choice, how["tasks"]), answers, export)
    shown = {one["recipe"]: one for one in table}
    near = nearest_trimmed(choice.candidates, choice.chosen, choice.wanted)
    full, trimmed = answers[FULL_FT], answers[near.recipe if near else choice.recipe]
    return {
        **how,
        "choice": choice,
        "asked": asked_in_words(choice.wanted),
        "full": shown[FULL_FT],
        "chosen": shown[choice.recipe],
        "nothing_learned": nothing_learned(shown[FULL_FT], shown[PRETRAINED]),
        "table": table,
        **drawn(choice, table, frame),
        "beside": "nearest trimmed model" if near else "chosen model",
        "documents": list(zip(full.documents, trimmed.documents, strict=True)),
        "free": choice.chosen.free,
        "measure": "F1" if choice.chosen.free else "accuracy",
        "held_back": measure(choice.chosen),
        "near": near and f"{name_of(near.recipe)}: {facts_in_words(near, choice.candidates[0])}",
        "perplexities": [(name_of(r), one.perplexity) for r, one in answers.items()],
        "neutral_tokens": trimmed.tokens,
        "splits": {name: one.documents for name, one in data.splits.items()},
        "serve": serving(Path(inputs["export"][0])),
        "format": export.format,
        "spent": spent(frame, [*inputs["answers"], *inputs["export"]]),
        "machine": machine(frame),
    }


def name_of(recipe: str) -> str:
    """What the report calls a checkpoint."""
    parsed = Recipe.parse(recipe)
    chain = f"trimmed, {parsed.dropped} units gone ({parsed.name})"
    return NAMES.get(recipe) or (chain if parsed.is_trimmed else recipe)


Score = dict[str, Any]


def scores(
    tested: Sequence[Evaluation], frame: Frame, choice: Choice, tasks: Sequence[str]
) -> dict[str, Score]:
    """Accuracy of every recipe on the test documents, in percent, with its interval of 95%; of free
    answers the F1 of words, with that of its mean, and the perplexity of the right answers."""
    found = {}
    for recipe in dict.fromkeys(one.recipe for one in tested):
        whole = derive.accuracy(frame, choice.model, choice.domain, recipe, tasks)
        if whole is None:
            raise UserError(f"{recipe} was not evaluated on every test of {choice.domain}")
        score = {"accuracy": whole.percent, "low": whole.ci95[0], "high": whole.ci95[1]}
        written = [one.answers for one in tested if one.recipe == recipe and one.answers]
        if choice.chosen.free:
            each = [100 * value for one in written for value in one.by_document["token_f1"]]
            mean, away = fmean(each), 1.96 * stdev(each) / len(each) ** 0.5
            score = {
                "accuracy": mean,
                "low": max(0.0, mean - away),
                "high": min(100.0, mean + away),
                "of_answers": fmean(one.perplexity for one in written),
            }
        found[recipe] = score | {"n": whole.n, "chance": whole.chance}
    return found


def recipes(
    choice: Choice, tested: Mapping[str, Score], answers: Mapping[str, Answers], export: Export
) -> list[dict[str, Any]]:
    """A row for every checkpoint: sizes, speeds, accuracies; the pretrained one first."""
    known = {one.recipe: one for one in choice.candidates}
    full = known[FULL_FT]
    found = []
    for recipe in (PRETRAINED, *known):
        one = known.get(recipe)
        size = export.bytes["file"] if recipe == choice.recipe else (one or full).bytes
        found.append(
            {
                "recipe": recipe,
                "name": name_of(recipe),
                "chain": Recipe.parse(recipe).name,
                "chosen": recipe == choice.recipe,
                "units": (one or full).units_kept,
                "share": 100 * (one or full).units_kept / full.units_kept,
                "megabytes": size / MB,
                "speed": (one or full).tokens_per_second,
                "held_back": one and one.accuracy,
                **tested[recipe],
                "perplexity": answers[recipe].perplexity if recipe in answers else None,
            }
        )
    return found


def nothing_learned(full: Score, plain: Score) -> str:
    """What says that full fine-tuning is no better than the model before it; nothing where it is.
    Of free answers how likely the right ones are, by which models are chosen."""
    if "of_answers" in full:
        now, before = full["of_answers"], plain["of_answers"]
        better = now < before
        told = f"perplexity of the right answers {now:.1f}, before {before:.1f}"
    else:
        now, before = full["accuracy"], plain["accuracy"]
        better = now > before
        told = f"accuracy {now:.1f}%, before {before:.1f}%"
    return "" if better else told


def drawn(choice: Choice, table: Sequence[Mapping[str, Any]], frame: Frame) -> dict[str, str]:
    """The three charts."""
    full = next(one for one in table if one["recipe"] == FULL_FT)
    asked = choice.wanted
    # Free answers are chosen by another measure than is drawn.
    shown = ABOVE in asked and not choice.chosen.free
    least = asked[ABOVE] / 100 * full["accuracy"] if shown else None
    label = "F1 of words on test documents (%)" if choice.chosen.free else charts.ACCURACY

    def points(key: str) -> list[charts.Point]:
        keys = ("recipe", "chain", "low", "high", "chosen")
        return [
            charts.Point(x=one[key], percent=one["accuracy"], **{k: one[k] for k in keys})
            for one in table
        ]

    parsed = Recipe.parse(choice.recipe)
    chain = parsed.name or next(iter(frame.epochs.name), None)
    epochs = rows(where(frame.epochs, name=chain).sort_values("dropped"))
    dropped = [(*unit, e.dropped) for e in epochs for unit in e.units_dropped]
    steps = [e.dropped for e in epochs if e.dropped]
    return {
        "by_size": charts.accuracy(
            points("megabytes"), "size (MB)", label, salt="size", least=least, limit=asked.get(SIZE)
        ),
        "by_speed": charts.accuracy(
            points("speed"),
            "speed (tokens/s)",
            label,
            salt="speed",
            least=least,
            limit=asked.get(SPEED),
        ),
        "strip": charts.strip(dropped, epochs[0].units_total // 2, parsed.dropped, steps),
    }


def serving(record: Path) -> dict[str, str]:
    """Commands that serve an export, of which this is the record, by what they are for."""
    folder = record.parent
    if gguf := next(iter(sorted(folder.glob("*.gguf"))), None):
        return {
            "With this project": f"trimllm serve {place_of(record).results}",
            "With llama.cpp": f"llama-server -m {gguf}",
        }
    trust, flags = "", ""
    if any(folder.glob("modeling_*.py")):  # a trimmed model with its own code
        trust, flags = ", trust_remote_code=True", " --trust-remote-code"
    return {
        "With transformers": f'AutoModelForCausalLM.from_pretrained("{folder}"{trust})',
        "With vLLM": f"vllm serve {folder}{flags}",
    }


def spent(frame: Frame, measured: Iterable[str]) -> list[tuple[str, float]]:
    """Minutes by what they were spent on. Jobs ran side by side: the sum is more than passed."""
    every = rows(frame.trainings)
    parts = {
        "full fine-tuning": sum(one.seconds for one in every if one.recipe == FULL_FT),
        "choosing units": sum(one.seconds_scan for one in rows(frame.epochs)),
        "training between drops": sum(one.seconds_train for one in rows(frame.epochs)),
        "settling checkpoints": sum(one.seconds for one in every if one.recipe != FULL_FT),
        "testing": _wall(frame.evaluations.provenance),
        "measuring speed": _wall(frame.timings.provenance),
        "export and its proof, answers": _wall(map(recorded, measured)),
    }
    return [(name, seconds / 60) for name, seconds in parts.items()]


def _wall(provenances: Iterable[Mapping[str, Any]]) -> float:
    """Seconds of jobs; one that left several files counts once."""
    found = {(p.get("started"), p.get("rule"), p.get("manifest_sha256")): p for p in provenances}
    return sum(one.get("wall_seconds", 0.0) for one in found.values())


def machine(frame: Frame) -> str:
    """The machine that speed was measured on, in words."""
    told = frame.timings.provenance.iloc[0].get("hardware", {})
    memory = told.get("memory_bytes", 0) / 2**30
    return f"{told.get('gpu') or told.get('cpu')}, {told.get('cores')} cores, {memory:.0f} GiB"
