"""Figure 1: accuracy against units dropped, with the lines of full fine-tuning and compressors.

Above our measurements, one panel a domain, with intervals of 95% over documents and seeds, and a
band of a standard deviation over seeds where there are several; beneath them what the paper prints
in its Tables 2 and 8 for its own model, in the same form. Compressors drop no unit: their lines run
across.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from trimllm.base.kept import drops_for
from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import derive, published
from trimllm_paper.context import Context, Domain
from trimllm_paper.figures import panels, style
from trimllm_paper.frames import Frame, where
from trimllm_paper.verdict import KEEPS

COMPRESSORS = ("llm_pruner", "sparsegpt_2_4", "llm_int8", "awq_int4")
"""Those of the paper's Table 2."""


def draw(frame: Frame, context: Context, stem: str | Path) -> None:
    """Draw accuracy (%) against units dropped; STEM.pdf and STEM.png."""
    beside = context.beside
    count = len(context.domains)
    heading = f"{context.model.label}: accuracy as units are dropped"
    size = (max(6.5, 2.1 * count), 5.0)
    with style.figure(stem, heading, size, 2, count, sharey=True, legend=5) as (axes, notes):
        found: set[str] = set()
        for (above, below), domain in zip(axes.T, context.domains, strict=True):
            found |= _measured(above, frame, context, domain)
            _published(below, beside, domain)
        axes[0][0].set_ylabel("measured accuracy (%)")
        axes[1][0].set_ylabel(f"paper, {published.LABELS[beside]}: accuracy (%)")
        axes[0][0].set_ylim(0, 100)
        notes += _notes(frame, context, found)


def _measured(ax: Any, frame: Frame, context: Context, domain: Domain) -> set[str]:
    """One domain as measured; returns the compressors that were found."""
    place = frame, context.model.name, domain.name
    names = ("full_ft", "pretrained", "sparse_ft")
    base = {name: derive.accuracy(*place, name, domain.tasks) for name in names}
    full, sparse = base["full_ft"], base["sparse_ft"]
    levels = {name: one.percent for name in names[:2] if (one := base[name])}
    if full:
        ax.axhspan(*full.ci95, color="#000000", alpha=0.06, linewidth=0)
        levels["keeps"] = KEEPS * full.percent
        if full.chance is not None:
            levels["chance"] = full.chance
    _levels(ax, levels, context)
    compressed = panels.compressed(frame, context, domain)
    for compressor, accuracy in compressed.items():
        _across(ax, compressor, accuracy.percent, panels.errors([accuracy]))
    if sparse:
        ax.errorbar([0], [sparse.percent], panels.errors([sparse]), **style.BASELINES["sparse_ft"])
    for shift, (name, look) in enumerate(style.looks(context.recipes).items()):
        points = derive.checkpoints(*place, name, domain.tasks)
        # a little apart, so that intervals do not cover each other
        dropped = [dropped + 0.5 * shift for dropped, _ in points]
        found = [accuracy for _, accuracy in points]
        percents = [one.percent for one in found]
        ax.errorbar(dropped, percents, panels.errors(found), **look)
        if any(one.deviation for one in found):
            ends = [
                [one.percent + sign * (one.deviation or 0) for one in found] for sign in (-1, 1)
            ]
            ax.fill_between(dropped, *ends, color=look["color"], **style.MARKS["band"])
        chain = where(frame.epochs, model=context.model.name, domain=domain.name, name=name)
        states = chain[chain.held_back.notna()].sort_values("dropped")
        if len(states):
            ax.plot(states.dropped, states.held_back, **look | style.MARKS["held_back"])
    ax.set_title(panels.title(domain, full.documents if full else None))
    total = next((one.tasks[0].units_total for one in base.values() if one), None)
    ax.set_xlabel(f"units dropped (of {total})" if total else "units dropped")
    return set(compressed)


def _published(ax: Any, beside: str, domain: Domain) -> None:
    """What the paper prints for the domain, or a word that it prints nothing."""
    rows = panels.paper_column(beside, domain.name)
    if not rows:
        style.say_in_place(ax, "the paper has no such column")
        return
    _levels(ax, rows | {"keeps": KEEPS * rows["full_ft"]})
    for compressor in COMPRESSORS:
        if compressor in rows:
            _across(ax, compressor, rows[compressor], None)
    ax.plot([0], [rows["sparse_ft"]], **style.BASELINES["sparse_ft"])
    total = published.UNITS[beside]
    kept = [kept for kept in (50, 40, 30) if f"trimllm_{kept}" in rows]
    dropped = [drops_for(percent, total) for percent in kept]
    percents = [rows[f"trimllm_{percent}"] for percent in kept]
    ax.plot(dropped, percents, **style.CRITERIA[PAPER_CRITERION])
    ax.set_xlabel(f"units dropped (of {total})")
    ax.set_title(f"paper: {published.DOMAINS[domain.name]}")


def _levels(ax: Any, levels: Mapping[str, float], of: Context | None = None) -> None:
    """Lines across, by their names; `of` says what ours are called."""
    for name, look in style.REFERENCES.items():
        if name in levels:
            label = of.named(look["label"]) if of else look["label"]
            ax.axhline(levels[name], **look | {"label": label})


def _across(ax: Any, compressor: str, percent: float, interval: Any) -> None:
    """A compressor: its point near where no unit is dropped, and a thin line across."""
    look = style.COMPRESSORS[compressor]
    place = 2.5 * (1 + list(style.COMPRESSORS).index(compressor))  # apart, so that all are seen
    ax.axhline(percent, color=look["color"], linestyle=look["linestyle"], linewidth=0.8)
    ax.errorbar([place], [percent], interval, **look | {"linestyle": ""})


def _notes(frame: Frame, context: Context, found: Collection[str]) -> list[str]:
    stand_in = [] if context.model.published else ["a stand-in for the paper's model"]
    stand_in += panels.by_lora(context)
    if any(domain.stand_in for domain in context.domains):
        stand_in.append("† stand-in data")
    rows = where(frame.evaluations, model=context.model.name)
    bars = "Wilson intervals of 95%"
    if rows.seed.nunique() > 1:
        bars = (
            "intervals of 95% over documents and seeds; coloured: a standard deviation over seeds"
        )
    notes = [
        f"{panels.origin(rows.source, rows.seed)} Bars and the grey band: {bars}. "
        "Units are attention and MLP sublayers; a compressor drops none, its line runs across (its "
        f"point is set apart only to be seen). {panels.not_run(COMPRESSORS, found)}"
    ]
    states = where(frame.epochs, model=context.model.name)
    if states.held_back.notna().any():
        notes.append(
            "Dotted: the state after every epoch of the first seed, before it is settled, on "
            "documents that are neither trained nor reported on."
        )
    return [*notes, f"Upper row: {'; '.join(stand_in)}."] if stand_in else notes
