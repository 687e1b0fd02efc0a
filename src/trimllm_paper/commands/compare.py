"""Does a run agree with the kept one? Cell by cell, paired by document where both asked the same.

    python -m trimllm_paper compare results results/reference

Each evaluation of both (model, domain trained on, recipe, task) is one of

    equal          every document has the same answer, by a checkpoint of the same size whose answer
                   loss differs by at most `SAME_LOSS`
    within noise   the answers differ by no more than their intervals allow
    different      the 95% interval of the difference lies on one side of 0

Below stand the chains that drop other sublayers (rounding alone can move a chain, since each of its
drops decides the next), and what differs in how the two runs were made, with the configuration's
keys where its hashes differ. Of a kept run with several seeds, the run's own seed is compared, or
the first. Times depend on the machine and are not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binom

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
KEY = ("model", "domain", "recipe", "task")
Key = tuple[str, str, str, str]
FEW, MANY = 4, 10
"""How many differing facts, and keys of the configuration, are shown."""
FACTS = ("config_hash", "git_commit", "code_hash", "versions", "hardware", "data_hashes", "seed")
"""Of a provenance, what is compared."""
PLACES = ("results", "replicates", "domains_folder", "downloads", "mirror")
"""Keys that say where files lie."""


def cells(results: Frame) -> dict[Key, Accuracy]:
    """Every evaluated cell, over all its seeds."""
    return {key: Accuracy(rows(tasks)) for key, tasks in results.evaluations.groupby([*KEY])}


def compared(key: Key, one: Accuracy, other: Accuracy) -> dict[str, Any]:
    """A cell of both runs: percent in each, and the difference in points with its interval."""
    difference = one.minus(other)
    verdict = NOISE if difference.low <= 0 <= difference.high else DIFFERENT
    losses = [accuracy.answer_loss or 0.0 for accuracy in (one, other)]
    alike = one.megabytes == other.megabytes and abs(losses[0] - losses[1]) <= SAME_LOSS
    if difference.paired and one.answers == other.answers and alike:
        verdict = EQUAL
    cell = dict(zip(KEY, key, strict=True)) | {"one": one.percent, "other": other.percent}
    cell |= {name: getattr(difference, name) for name in ("points", "low", "high", "paired")}
    return cell | {"n": one.documents, "verdict": verdict}


def other_drops(one: Frame, other: Frame) -> Iterator[str]:
    """A line for each chain of both (first seed) that drops other sublayers in the second."""
    mine, theirs = (
        {(c.model, c.domain, c.name): c for c in reversed(chains(run))} for run in (one, other)
    )
    for key in sorted(mine.keys() & theirs.keys()):
        last = min(chain[key].epochs[-1].dropped for chain in (mine, theirs))
        pairs = list(zip(mine[key].dropped(last), theirs[key].dropped(last), strict=True))
        same = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        if same < len(pairs):
            yield f"Chain {'/'.join(key)}: other sublayers after the first {same}"


def other_facts(one: Frame, other: Frame, keys: set[Key]) -> dict[str, str]:
    """Facts of provenance in which the cells of both runs differ: parts of one | of the other."""
    made = [
        [
            row.provenance
            for row in rows(run.evaluations)
            if tuple(getattr(row, k) for k in KEY) in keys
        ]
        for run in (one, other)
    ]
    lines = {}
    for fact in FACTS:
        mine, theirs = (
            {
                f"{key.removeprefix(fact).lstrip('.')} {str(value)[:12]}".strip()
                for provenance in side
                for key, value in keys_of({fact: provenance.get(fact)})
            }
            for side in made
        )
        if mine != theirs:
            alone = sorted(mine - theirs), sorted(theirs - mine)
            lines[fact] = " | ".join("; ".join(s[:FEW] + ["..."] * bool(s[FEW:])) for s in alone)
    return lines


def settings(folder: Path, configfiles: Sequence[Path], seed: int) -> dict[str, Any]:
    """Configuration of a folder's results, flat: that beside kept ones, else the given files'."""
    if (own := folder / kept_runs.CONFIG).is_file():
        config = reference.resolved(own)
    else:
        raw = invocation.configuration(configfiles)
        config = load(raw, configfiles or [invocation.DEFAULT]).model_dump(mode="json")
    flat = dict(keys_of(reference.portable(config | {"seed": seed})))
    return {key: value for key, value in flat.items() if key not in PLACES}


def other_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """A line for each key of two configurations that differs, with both values; pins come last."""
    keys = sorted({**one, **other}, key=lambda key: key.startswith("wheels."))
    values = {
        key: [json.dumps(side[key]) if key in side else "none" for side in (one, other)]
        for key in keys
    }
    lines = [f"{key}: {' | '.join(both)}" for key, both in values.items() if both[0] != both[1]]
    more = [f"and {len(lines) - MANY} keys more"] if lines[MANY:] else []
    return [*lines[:MANY], *more] or ["no key differs; the hash covers the code too"]


def kept_under(run: Frame, kept: Path) -> Path:
    """The folder of a kept run that is of the run's seed; its first one's, if none is."""
    own = [kept / f"seed_{seed}" for seed in {*run.evaluations.seed}]
    return own[0] if len(own) == 1 and own[0] in seed_folders(kept) else kept


def run(folder: Path, kept: Path, show: str = DIFFERENT, configfiles: Sequence[Path] = ()) -> int:
    """Print the comparison; the last line on stdout is one JSON object.

    Exit status 1 if so many cells are different that chance alone explains it in at most one of
    twenty comparisons.
    """
    one = frame(folder)
    other = frame(own := kept_under(one, kept))
    mine, theirs = cells(one), cells(other)
    keys = [key for key in mine if key in theirs]
    if not keys:
        raise UserError(f"{folder} and {own} hold no evaluation of the same model, recipe and task")
    compared_cells = [compared(key, mine[key], theirs[key]) for key in keys]
    shown = pd.DataFrame([cell for cell in compared_cells if show in ("all", cell["verdict"])])
    if len(shown):
        print(shown.round(1).to_string(index=False))
    counts = {
        word: sum(cell["verdict"] == word for cell in compared_cells)
        for word in (EQUAL, NOISE, DIFFERENT)
    }
    print(
        f"{len(compared_cells)} cells in both: "
        + ", ".join(f"{n} {word}" for word, n in counts.items())
    )
    unequal = len(compared_cells) - counts[EQUAL]
    print(f"By chance about {CHANCE * unequal:.0f} of {unequal} unequal cells would be different.")
    for line in other_drops(one, other):
        print(line)
    for place, alone in ((folder, mine.keys() - theirs), (own, theirs.keys() - mine)):
        if alone:
            print(f"In {place} alone: {len(alone)} cells, such as {'/'.join(min(alone))}")
    facts_apart = other_facts(one, other, {*keys})
    print(
        "Made differently (first | second):" if facts_apart else "Made alike, as far as recorded."
    )
    for name, line in facts_apart.items():
        print(f"  {name}: {line}")
    if "config_hash" in facts_apart:
        seeds = [int(each.evaluations.seed.iloc[0]) for each in (one, other)]
        sides = [settings(folder, configfiles, seeds[0]), settings(kept, configfiles, seeds[1])]
        print("Keys of the configuration (first | second):")
        print("\n".join(f"    {line}" for line in other_keys(*sides)))
    print(json.dumps({"counts": counts, "cells": compared_cells}))
    return int(
        counts[DIFFERENT] > 0 and binom.sf(counts[DIFFERENT] - 1, unequal, CHANCE) < CHANCE + 1e-9
    )
