"""Does a run agree with the kept one? Cell by cell, paired by document where both asked the same.

    python -m trimllm_paper compare results results/reference

Each evaluation of both (model, domain trained on, recipe, task) is one of

    equal          every document has the same answer, by a checkpoint of the same size whose answer
                   loss is the same to `SAME_LOSS`
    within noise   they differ, the answers by no more than their intervals allow
    different      the 95% interval of the difference lies on one side of 0

and what is in one folder alone is named, and of the chains in both which drop other units. Of a
kept run that holds several seeds it is the run's own, or the first. Over many cells, one in twenty
is `different` by chance alone; a line says how many would be. What differs in how the two were made
(configuration, code, libraries, machine, data, seeds) stands below: rounding alone can move a
chain, since each of its drops decides the next. Where hashes of the configurations differ, so do
the keys that are named with both values: kept results have theirs beside them, of others it is the
one that is given. Times are of a machine and an hour, and are not compared.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy.special import bdtrc

from trimllm.base.errors import UserError
from trimllm_paper import invocation, kept_runs
from trimllm_paper.commands import reference
from trimllm_paper.config import load
from trimllm_paper.derive import Accuracy, chains
from trimllm_paper.frames import Frame, frame, rows
from trimllm_paper.recipe import keys_of, seed_folders

EQUAL, NOISE, DIFFERENT = "equal", "within noise", "different"
CHANCE = 0.05
"""Share of cells that differ by chance alone, at intervals of 95%."""
SAME_LOSS = 0.01
"""Nats a token by which answer losses of equal cells may differ; rounding moves them by less."""
Key = tuple[str, str, str, str]
"""Model, domain trained on, recipe, task."""


@dataclass(frozen=True)
class Compared:
    """One cell: percent in the one and the other folder, and the difference with its interval."""

    model: str
    domain: str
    recipe: str
    task: str
    one: float
    other: float
    points: float
    low: float
    high: float
    n: int
    paired: bool
    verdict: str


def cells(results: Frame) -> dict[Key, Accuracy]:
    """Every evaluated cell, over all its seeds."""
    found: dict[Key, list[Any]] = {}
    for row in rows(results.evaluations):
        found.setdefault((row.model, row.domain, row.recipe, row.task), []).append(row)
    return {key: Accuracy(tasks) for key, tasks in found.items()}


def compared(key: Key, one: Accuracy, other: Accuracy) -> Compared:
    """A cell of both."""
    found = one.minus(other)
    verdict = NOISE if found.low <= 0 <= found.high else DIFFERENT
    if found.paired and one.answers == other.answers and _alike(one, other):
        verdict = EQUAL
    points = (found.points, found.low, found.high)
    percents = (one.percent, other.percent)
    return Compared(*key, *percents, *points, one.documents, found.paired, verdict)


def _alike(one: Accuracy, other: Accuracy) -> bool:
    """Whether the checkpoints behind equal answers are of a size and as sure of them."""
    losses = [0.0 if each.answer_loss is None else each.answer_loss for each in (one, other)]
    return one.megabytes == other.megabytes and abs(losses[0] - losses[1]) <= SAME_LOSS


def dropped(one: Frame, other: Frame) -> str:
    """How many of the chains in both (of several seeds the first) drop the same units in the same
    order, and where the others part, in words; "" if there is none in both."""
    mine, theirs = (
        {(c.model, c.domain, c.name): c for c in reversed(chains(each))} for each in (one, other)
    )
    parted = []
    both = [key for key in mine if key in theirs]
    for key in both:
        last = min(found[key].epochs[-1].dropped for found in (mine, theirs))
        units = [found[key].dropped(last) for found in (mine, theirs)]
        same = next((i for i, (a, b) in enumerate(zip(*units, strict=False)) if a != b), last)
        parted += [f"{'/'.join(key)} after {same} units"] if units[0] != units[1] else []
    if not both:
        return ""
    named = "; ".join([*parted[:FEW], *(["..."] if len(parted) > FEW else [])])
    told = f"Of {len(both)} chains in both {len(both) - len(parted)} drop the same units"
    return f"{told}; others part: {named}" if parted else told


Fact = Callable[[Mapping[str, Any]], list[str]]


def _parts(field: str, digits: int | None = None) -> Fact:
    """A mapping of the provenance, each entry in words."""

    def told(one: Mapping[str, Any]) -> list[str]:
        return [f"{k} {str(v)[:digits]}" for k, v in sorted((one.get(field) or {}).items())]

    return told


def _one(field: str, digits: int | None = None) -> Fact:
    """A single value of the provenance."""
    return lambda one: [str(one.get(field, "none"))[:digits]]


CONFIGURATION = "configuration (hash)"
FACTS: dict[str, Fact] = {
    CONFIGURATION: _one("config_hash", 12),
    "code (git commit)": _one("git_commit", 12),
    "code (hash)": _one("code_hash", 12),
    "libraries": _parts("versions"),
    "machine": _parts("hardware"),
    "data (hashes)": _parts("data_hashes", 8),
    "seed": _one("seed"),
}
"""What of a provenance is compared, in parts."""
FEW = 4
"""Parts that are told of either."""
MOST_KEYS = 10
"""Keys of the configuration that are told."""
PLACES = ("results", "replicates", "domains_folder", "downloads", "mirror")
"""Keys that say where files lie, which differ by themselves."""


def differences(one: Frame, other: Frame, keys: list[Key]) -> Iterator[str]:
    """A line for each fact in which the cells of both were made differently.

    Of libraries, machines and data only the parts that differ.
    """
    made = [
        {(r.model, r.domain, r.recipe, r.task): r.provenance for r in rows(each.evaluations)}
        for each in (one, other)
    ]
    for name, fact in FACTS.items():
        only: tuple[dict[str, None], dict[str, None]] = {}, {}
        for key in keys:
            mine, theirs = (fact(each[key]) for each in made)
            only[0].update(dict.fromkeys(part for part in mine if part not in theirs))
            only[1].update(dict.fromkeys(part for part in theirs if part not in mine))
        if any(only):
            sides = ([*list(side)[:FEW], *(["..."] if len(side) > FEW else [])] for side in only)
            yield f"{name}: {' | '.join('; '.join(side) for side in sides)}"


def settings(folder: Path, configfiles: Sequence[Path] = ()) -> dict[str, Any]:
    """What the results of a folder were made by: key as `trim.documents` -> value.

    Args:
        configfiles: of results that are not kept, each on top of those before it; none: the
            default.
    """
    if (own := folder / kept_runs.CONFIG).is_file():
        found = reference.resolved(own)
    else:
        raw = invocation.configuration(configfiles)
        found = load(raw, configfiles or [invocation.DEFAULT]).model_dump(mode="json")
    every = keys_of(reference.portable(found))
    return {key: value for key, value in every if key not in PLACES}


def changed(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """A line for each key of two configurations that differs, with both values; pins come last."""
    keys = sorted(dict.fromkeys((*one, *other)), key=lambda key: key.startswith("wheels."))
    told = [
        f"{key}: {mine} | {theirs}"
        for key in keys
        for mine, theirs in [[json.dumps(x[key]) if key in x else "none" for x in (one, other)]]
        if mine != theirs
    ]
    yield from told[:MOST_KEYS]
    if more := told[MOST_KEYS:]:
        yield f"and {len(more)} keys more"


def kept_under(run: Frame, kept: Path) -> Path:
    """The folder of a kept run that is of a seed of the run; its first one's, if none is."""
    named = [kept / f"seed_{seed}" for seed in {*run.evaluations.seed}]
    return named[0] if len(named) == 1 and named[0] in seed_folders(kept) else kept


def run(
    folder: Path,
    kept: Path,
    show: str = "different",
    configfiles: Sequence[Path] = (),
) -> int:
    """Print the comparison; the last line on stdout is one JSON object.

    Exit status 1 if so many cells are different that chance alone explains it in one of twenty
    comparisons, or less.
    """
    one = frame(folder)
    other = frame(own := kept_under(one, kept))
    mine, theirs = cells(one), cells(other)
    keys = [key for key in mine if key in theirs]
    if not keys:
        raise UserError(f"{folder} and {own} hold no evaluation of the same model, recipe and task")
    found = [compared(key, mine[key], theirs[key]) for key in keys]
    wanted = {"all": (EQUAL, NOISE, DIFFERENT), "different": (DIFFERENT,)}.get(show, (show,))
    for cell in found:
        if cell.verdict in wanted:
            name = f"{cell.model}/{cell.domain}/{cell.recipe} on {cell.task}"
            how = "paired" if cell.paired else "other documents"
            print(
                f"{cell.verdict:12}  {cell.one:5.1f} {cell.other:5.1f}  {cell.points:+5.1f} "
                f"({cell.low:+.1f} to {cell.high:+.1f}, n = {cell.n}, {how})  {name}"
            )
    counts = {word: sum(c.verdict == word for c in found) for word in (EQUAL, NOISE, DIFFERENT)}
    alone = {str(folder): mine.keys() - theirs.keys(), str(own): theirs.keys() - mine.keys()}
    print(f"{len(found)} cells in both: " + ", ".join(f"{n} {word}" for word, n in counts.items()))
    unequal = len(found) - counts[EQUAL]
    by_chance = CHANCE * unequal
    print(f"Of {unequal} that are not equal about {by_chance:.0f} would be different by chance.")
    if told := dropped(one, other):
        print(f"{told}.")
    for place, only in alone.items():
        if only:
            print(f"In {place} alone: {len(only)} cells, such as {'/'.join(sorted(only)[0])}")
    made = list(differences(one, other, keys))
    print("Made differently (first | second):" if made else "Made alike, as far as is recorded.")
    for line in made:
        print(f"  {line}")
        if line.startswith(CONFIGURATION):
            by = settings(folder, configfiles), settings(kept, configfiles)
            for what, each in zip(by, (one, other), strict=True):
                what["seed"] = int(each.evaluations.seed.iloc[0])
            named = [*changed(*by)] or ["no key differs; the hash holds that of the code"]
            print("\n".join(f"    {key}" for key in named))
    print(json.dumps({"counts": counts, "cells": [asdict(cell) for cell in found]}))
    if not counts[DIFFERENT]:
        return 0
    return int(bdtrc(counts[DIFFERENT] - 1, unequal, CHANCE) <= CHANCE + 1e-9)
