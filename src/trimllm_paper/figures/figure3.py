"""Figure 3: which units go. Scores of every unit before every drop, and what was dropped.

For each domain and recipe two heat maps, attention and MLP apart: brightness is what the criterion
compares (accuracy left without the unit, Eq. 3 falls with it; activation norm; likelihood left),
crosses are the units dropped. To the right how many units of each kind went until half of all units
were gone, those that only a tie-break chose apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import derive
from trimllm_paper.context import Context
from trimllm_paper.derive import KINDS, Chain
from trimllm_paper.figures import style
from trimllm_paper.figures.panels import origin, title
from trimllm_paper.frames import Frame


def _score(criterion: str) -> dict[str, str]:
    """What a criterion compares; a criterion of others is shown by the accuracies of its scan."""
    return style.SCORES.get(criterion, style.SCORES[PAPER_CRITERION] | {"tick": criterion})


def draw(frame: Frame, context: Context, stem: str | Path) -> None:
    """Draw the drop patterns of all domains (rows) and recipes; STEM.pdf and STEM.png."""
    labels = {name: look["label"] for name, look in style.looks(context.recipes).items()}
    columns, count = 2 * len(labels) + 1, len(context.domains)
    widths = [1.5] * (columns - 1) + [0.75 + 0.25 * len(labels)]
    heading = f"{context.model.label}: scores of all units and which were dropped"
    size = (stem, heading, (2.1 * columns, 1.35 * count + 0.9), count, columns)
    with style.figure(*size, width_ratios=widths, legend=4) as (axes, notes):
        shown: list[Chain] = []
        lowest: dict[int, Any] = {}  # column of the figure -> its last panel that shows something
        for row, domain in zip(axes, context.domains, strict=True):
            wanted = {"model": context.model.name, "domain": domain.name}
            chains = {chain.name: chain for chain in derive.chains(frame, **wanted)}
            found = []
            for place, name in enumerate(labels):
                chain = chains.get(name)
                pair = row[2 * place : 2 * place + 2]
                if chain is None:
                    for ax in pair:
                        style.say_in_place(ax, "not run")
                    continue
                found.append(chain)
                _heat_maps(pair, chain)
                lowest |= dict(enumerate(pair, start=2 * place))
            _bars(row[-1], found)
            row[0].set_ylabel(f"{title(domain)}\nepoch")
            shown += found
        for place, label in enumerate(labels.values()):
            for ax, kind in zip(axes[0][2 * place :], KINDS, strict=False):
                ax.set_title(f"{label}\n{style.KINDS[kind]['label']}", fontsize=7.5)
        axes[0][-1].set_title("units dropped, first half", fontsize=7.5)
        for ax in lowest.values():
            ax.set_xlabel("decoder block")
        notes += _notes(shown, context)


def grid(chain: Chain, kind: str) -> list[list[float]]:
    """Scores of a kind of unit, (epochs, blocks); NaN where the unit is gone or has no score."""
    key = _score(chain.criterion)["key"]
    table = [[math.nan] * chain.blocks for _ in chain.epochs]
    for row, epoch in zip(table, chain.epochs, strict=True):
        for unit in epoch.scan["units"]:
            if unit["kind"] == kind and unit.get(key) is not None:
                row[unit["block"]] = unit[key]
    return table


def _heat_maps(pair: Sequence[Any], chain: Chain) -> None:
    """Attention and MLP of a chain on one scale of brightness."""
    tables = {kind: grid(chain, kind) for kind in KINDS}
    values = sorted(v for t in tables.values() for row in t for v in row if not math.isnan(v))
    # A likelihood has no floor: the few units without which nothing is left would hide the rest.
    cut = len(values) // 20 if chain.criterion == "likelihood" else 0
    scale = {"vmin": values[cut], "vmax": values[-1], "cmap": style.HEAT}
    for ax, kind in zip(pair, KINDS, strict=True):
        shown = ax.imshow(tables[kind], aspect="auto", interpolation="nearest", **scale)
        ax.set_facecolor("#F2F2F2")
        ax.grid(False)
        dropped = [
            (block, epoch.epoch)
            for epoch in chain.epochs
            for block, what in epoch.units_dropped
            if what == kind
        ]
        if dropped:
            for mark in ("beneath", "dropped"):
                ax.scatter(*zip(*dropped, strict=True), **style.MARKS[mark])
        trained = chain.epochs[0].trainable_blocks
        ax.plot(trained, [len(chain.epochs) - 0.5] * len(trained), **style.MARKS["trained"])
    look = {"pad": 0.01, "aspect": 12, "extend": "min" if cut else "neither"}
    bar = pair[0].figure.colorbar(shown, ax=list(pair), **look)
    meaning = _score(chain.criterion)["label"].replace(" without", "\nwithout")
    bar.set_label(meaning, fontsize=6)


def _bars(ax: Any, chains: Sequence[Chain]) -> None:
    """Units dropped by kind until half are gone; those chosen by a tie-break hatched."""
    heights = [1.0]
    for place, chain in enumerate(chains):
        counts = chain.counts(at_most=chain.units_total // 2)
        for offset, kind in ((-0.2, "attention"), (0.2, "mlp")):
            look, name = style.KINDS[kind], style.KINDS[kind]["label"]
            clear, tied = counts.clear[kind], counts.tied[kind]
            ax.bar(place + offset, clear, **look | {"label": f"{name}, no tie"})
            hatched = {"hatch": "////", "alpha": 0.6, "label": f"{name}, by tie-break"}
            ax.bar(place + offset, tied, bottom=clear, **look | hatched)
            lot = clear + counts.even[kind]
            ends = (place + offset - 0.18, place + offset + 0.18)
            ax.plot(ends, (lot, lot), **style.MARKS["by_lot"])
            heights += [counts.total(kind), lot]
    ax.set_ylim(top=1.1 * max(heights))
    ax.set_xticks(range(len(chains)), [_score(one.criterion)["tick"] for one in chains])
    ax.tick_params(axis="x", labelsize=6.5)
    ax.set_ylabel("units")


def _notes(chains: Sequence[Chain], context: Context) -> list[str]:
    sources = [source for chain in chains for source in chain.sources]
    where_from = origin(sources, [chain.seed for chain in chains])
    if not chains:
        return [where_from]
    stand_in = "" if context.model.published else " A stand-in for the paper's model."
    last = "the activation norm (both) or the index (calibration)"
    many, fewest = _documents(chains)
    scanned = f" Scores on n = {many} calibration documents, so accuracy moves in steps of "
    scanned += f"{100 / fewest:.1f} points."
    return [
        f"{where_from}{scanned} Grey: dropped earlier. A tie: the last units dropped have the same "
        f"accuracy as others that stayed, and {last} decides. † stand-in data.{stand_in}"
    ]


def _documents(chains: Iterable[Chain]) -> tuple[str, int]:
    """Documents of the chains' scans, smallest to largest, in words; and the smallest."""
    sizes = sorted({one.epochs[0].scan["documents"] for one in chains})
    return " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1])))), sizes[0]
