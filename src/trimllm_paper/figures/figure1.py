"""Figure 1: accuracy against units dropped, with the lines of full fine-tuning and compressors.

Above our measurements, one panel a domain; beneath them what the paper prints in its Tables 2 and
8 for its own model, in the same form. Compressors drop no unit: their lines run across.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm.base.kept import drops_for
from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import published
from trimllm_paper.chains import Run, checkpoints
from trimllm_paper.figures.panels import (
    PAPER_UNITS,
    compressed,
    errors,
    not_run,
    paper_column,
    paper_model,
    seed_note,
    title,
)
from trimllm_paper.figures.style import (
    BASELINES,
    COMPRESSORS,
    CRITERIA,
    NAMES,
    REFERENCES,
    figure,
    save,
    say_in_place,
    underneath,
)
from trimllm_paper.measured import Accuracy, Results
from trimllm_paper.tier import tier_note
from trimllm_paper.verdict import KEEPS

PAPER_COMPRESSORS = ("llm_pruner", "sparsegpt_2_4", "llm_int8", "awq_int4")


def draw(
    evals: Iterable[str | Path],
    model: Mapping[str, Any],
    domains: Sequence[Mapping[str, Any]],
    stem: str | Path,
    *,
    criteria: Sequence[str],
    run: Run,
) -> None:
    """Draw accuracy (%) with 95% Wilson intervals against units dropped; STEM.pdf and STEM.png.

    Args:
        evals: evaluation files; what was not evaluated is left out and named below the figure.
        model: name, label, published (see `table2.build`).
        domains: name, label, tasks, stand_in.
        criteria: those whose chains are drawn.
        run: ratio and drops an epoch of the chains.
    """
    results = Results(evals)
    beside = paper_model(model)
    width = max(6.5, 2.1 * len(domains))
    with figure(width, 5.0, len(domains), 2, sharey=True) as (drawn, axes):
        found: dict[str, Accuracy] = {}
        for (above, below), domain in zip(axes.T, domains, strict=True):
            found |= _measured(above, results, model["name"], domain, criteria, run)
            _published(below, beside, domain)
        axes[0][0].set_ylabel("measured accuracy (%)")
        axes[1][0].set_ylabel(f"paper, {published.LABELS[beside]}: accuracy (%)")
        axes[0][0].set_ylim(0, 100)
        drawn.suptitle(
            f"{model.get('label') or model['name']}: accuracy as units are dropped", fontsize=9
        )
        underneath(drawn, axes.flat, 5, _notes(results, model, domains, found))
        save(drawn, stem)


def _measured(
    ax: Any,
    results: Results,
    model: str,
    domain: Mapping[str, Any],
    criteria: Sequence[str],
    run: Run,
) -> dict[str, Accuracy]:
    """One domain as measured; returns the compressors that were found."""
    name, tasks = domain["name"], domain.get("tasks")
    base = {
        recipe: results.accuracy(model, name, recipe, tasks)
        for recipe in ("full_ft", "pretrained", "sparse_ft")
    }
    full, sparse = base["full_ft"], base["sparse_ft"]
    levels = {key: one.percent for key in ("full_ft", "pretrained") if (one := base[key])}
    if full:
        ax.axhspan(*full.ci95, color="#000000", alpha=0.06, linewidth=0)
        levels["keeps"] = KEEPS * full.percent
        if full.chance is not None:
            levels["chance"] = full.chance
    _levels(ax, levels)
    lines = compressed(results, model, name, tasks)
    for compressor, accuracy in lines.items():
        _across(ax, compressor, accuracy.percent, errors([accuracy]))
    if sparse:
        style = BASELINES["sparse_ft"]
        ax.errorbar(
            [0], [sparse.percent], errors([sparse]), linestyle="", label=NAMES["sparse_ft"], **style
        )
    for shift, criterion in enumerate(criteria):
        points = checkpoints(results, model, name, tasks, criterion, run)
        ax.errorbar(
            # a little apart, so that intervals do not cover each other
            [dropped + 0.5 * shift for dropped, _ in points],
            [accuracy.percent for _, accuracy in points],
            errors([accuracy for _, accuracy in points]),
            label=NAMES[criterion],
            **CRITERIA[criterion],
        )
    ax.set_title(title(domain, full.n if full else None))
    total = next((one.tasks[0].units_total for one in base.values() if one), None)
    ax.set_xlabel(f"units dropped (of {total})" if total else "units dropped")
    return lines


def _published(ax: Any, beside: str, domain: Mapping[str, Any]) -> None:
    """What the paper prints for the domain, or a word that it prints nothing."""
    rows = paper_column(beside, domain["name"])
    if not rows:
        say_in_place(ax, "the paper has no such column")
        return
    levels = {key: rows[key] for key in ("full_ft", "pretrained") if key in rows}
    _levels(ax, levels | {"keeps": KEEPS * rows["full_ft"]})
    for compressor in PAPER_COMPRESSORS:
        if compressor in rows:
            _across(ax, compressor, rows[compressor], None)
    ax.plot(
        [0], [rows["sparse_ft"]], linestyle="", label=NAMES["sparse_ft"], **BASELINES["sparse_ft"]
    )
    total = PAPER_UNITS[beside]
    points = [
        (drops_for(kept, total), rows[f"trimllm_{kept}"])
        for kept in (50, 40, 30)
        if f"trimllm_{kept}" in rows
    ]
    ax.plot(*zip(*points, strict=True), label=NAMES[PAPER_CRITERION], **CRITERIA[PAPER_CRITERION])
    ax.set_xlabel(f"units dropped (of {total})")
    ax.set_title(f"paper: {published_name(domain['name'])}")


def published_name(domain: str) -> str:
    """Name of a column as the paper writes it."""
    names = {"piqa": "PIQA", "sciq": "SciQ", "medmcqa": "MedMCQA"}
    return names.get(domain) or {"lexglue": "LexGLUE", "financeqa": "FinanceQA"}.get(domain, domain)


def _levels(ax: Any, levels: Mapping[str, float]) -> None:
    for key, level in levels.items():
        ax.axhline(level, label=NAMES[key], **REFERENCES[key])


def _across(ax: Any, compressor: str, percent: float, interval: Any) -> None:
    """A compressor: its point near where no unit is dropped, and a thin line across."""
    style = COMPRESSORS[compressor]
    place = 2.5 * (1 + list(COMPRESSORS).index(compressor))  # apart, so that all are seen
    ax.axhline(percent, color=style["color"], linestyle=style["linestyle"], linewidth=0.8)
    point = {"color": style["color"], "marker": style["marker"], "linestyle": ""}
    ax.errorbar([place], [percent], interval, label=NAMES[compressor], **point)


def _notes(
    results: Results,
    model: Mapping[str, Any],
    domains: Sequence[Mapping[str, Any]],
    found: Mapping[str, Any],
) -> list[str]:
    stand_in = [] if model.get("published") else ["a stand-in for the paper's model"]
    if any(domain.get("stand_in") for domain in domains):
        stand_in.append("† stand-in data")
    notes = [
        f"{tier_note(one.source for one in results.measurements)}."
        f"{seed_note(one.seed for one in results.measurements)} Bars and the grey band: Wilson "
        "intervals of 95%. Units are attention and MLP sublayers; a compressor drops none, its "
        "line runs across (its point is set apart only to be seen). "
        f"{not_run(PAPER_COMPRESSORS, found)}"
    ]
    return [*notes, f"Upper row: {'; '.join(stand_in)}."] if stand_in else notes
