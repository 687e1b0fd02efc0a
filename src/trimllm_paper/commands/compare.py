"""Does a run agree with the kept one? Cell by cell, paired by document if tests are the same.

Each evaluation of both (model, domain trained on, recipe, task) is one of

    equal          every document has the same answer, by a checkpoint of the same size whose answer
                   loss differs by at most `SAME_LOSS`
    within noise   the answers differ by no more than their intervals allow
    different      the 95% interval of the difference lies on one side of 0

Then the chains that drop other sublayers (each drop decides the next, so rounding alone can move a
chain), what differs in how the two runs were made, and how many cells are equal. Of a kept run with
several seeds, the own one is compared, or the first. Times are not compared.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binom

from trimllm.base.errors import UserError
from trimllm_paper.derive import Accuracy, chains, dropped
from trimllm_paper.frames import Frame, frame, rows
from trimllm_paper.recipe import keys_of, seed_folders

EQUAL, NOISE, DIFFERENT = "equal", "within noise", "different"
CHANCE = 0.05  # share of cells that differ by chance alone, at intervals of 95%
SAME_LOSS = 0.01  # nats a token between equal cells, at most; rounding moves them by less
KEY = ("model", "domain", "recipe", "task")
# Of a provenance, what is compared.
FACTS = ("config_hash", "git_commit", "code_hash", "versions", "hardware", "data_hashes", "seed")


def compared(one: Accuracy, other: Accuracy) -> dict[str, Any]:
    """A cell of both runs: percent in each, and the difference in points with its interval."""
    difference = one.minus(other)
    verdict = NOISE if difference.low <= 0 <= difference.high else DIFFERENT
    loss = abs((one.answer_loss or 0.0) - (other.answer_loss or 0.0))
    alike = one.megabytes == other.megabytes and loss <= SAME_LOSS
    answers = [[*accuracy.answers.values()] for accuracy in (one, other)]
    if difference.paired and answers[0] == answers[1] and alike:
        verdict = EQUAL
    cell = {name: getattr(difference, name) for name in ("points", "low", "high", "paired")}
    percents = {"one": one.percent, "other": other.percent}
    return percents | cell | {"n": one.documents, "verdict": verdict}


def print_other_drops(one: Frame, other: Frame) -> None:
    """A line for each chain of both (first seed) that drops other sublayers in the second."""
    mine, theirs = (
        {(c[0].model, c[0].domain, c[0].name): c for c in reversed(chains(run))}
        for run in (one, other)
    )
    for key in sorted(mine.keys() & theirs.keys()):
        last = min(chain[key][-1].dropped for chain in (mine, theirs))
        pairs = zip(dropped(mine[key], last), dropped(theirs[key], last), strict=True)
        if (same := next((i for i, (a, b) in enumerate(pairs) if a != b), None)) is not None:
            print(f"Chain {'/'.join(key)}: other sublayers after the first {same}")


def facts(evaluations: pd.DataFrame) -> dict[str, str]:
    """Facts of provenance of some evaluations, flat, with all values of each."""
    values: dict[str, set[str]] = {}
    for provenance in evaluations.provenance:
        for key, value in keys_of({fact: provenance.get(fact) for fact in FACTS}):
            values.setdefault(key, set()).add(str(value)[:12])
    return {key: ", ".join(sorted(each)) for key, each in values.items()}


def runs_of(folder: Path, kept: Path) -> tuple[Path, tuple[Frame, Frame]]:
    """Both runs: of a kept one with several seeds the first's own, in the folder named first."""
    mine = frame(folder)
    own = [kept / f"seed_{seed}" for seed in {*mine.evaluations.seed}]
    other = own[0] if len(own) == 1 and own[0] in seed_folders(kept) else kept
    return other, (mine, frame(other))


def cells_of(runs: tuple[Frame, Frame]) -> list[dict[str, Any]]:
    """The key of each cell of both runs, with what `compared` says of it."""
    one, other = (dict([*run.evaluations.groupby([*KEY])]) for run in runs)
    return [
        dict(zip(KEY, key, strict=True))
        | compared(Accuracy(rows(one[key])), Accuracy(rows(other[key])))
        for key in one
        if key in other
    ]


def run(folder: Path, kept: Path) -> int:
    """Print the comparison. Exit status 1 if so many cells are different that chance alone explains
    it in at most one of twenty comparisons."""
    other, runs = runs_of(folder, kept)
    if not (cells := cells_of(runs)):
        alike = "no evaluation of the same model, recipe and task"
        raise UserError(f"{folder} and {other} hold {alike}")
    if shown := [cell for cell in cells if cell["verdict"] == DIFFERENT]:
        print(pd.DataFrame(shown).round(1).to_string(index=False))
    print_other_drops(*runs)
    keys = [pd.MultiIndex.from_frame(run.evaluations[[*KEY]]) for run in runs]
    for place, here, there in ((folder, *keys), (other, *reversed(keys))):
        if len(alone := here.difference(there)):
            print(f"In {place} alone: {len(alone)} cells, such as {'/'.join(alone[0])}")
    both = keys[0].intersection(keys[1])
    made = [facts(run.evaluations[own.isin(both)]) for run, own in zip(runs, keys, strict=True)]
    print("Made differently (first | second):" if made[0] != made[1] else "Made alike.")
    for key in sorted({**made[0], **made[1]}):
        first, second = (one.get(key, "none") for one in made)
        if first != second:
            print(f"  {key}: {first} | {second}")
    counts = {word: 0 for word in (EQUAL, NOISE, DIFFERENT)} | Counter(c["verdict"] for c in cells)
    unequal = len(cells) - counts[EQUAL]
    words = ", ".join(f"{n} {word}" for word, n in counts.items())
    print(f"{len(cells)} cells in both: {words} (by chance about {CHANCE * unequal:.0f})")
    chance = binom.sf(counts[DIFFERENT] - 1, unequal, CHANCE)
    return int(counts[DIFFERENT] > 0 and chance < CHANCE + 1e-9)
