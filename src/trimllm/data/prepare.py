"""Prepare a domain: read, construct, split, check, write, report.

Splits are made in this order, and never one question in two of them: tests; documents held back,
by which checkpoints are chosen; the pool of calibration documents; for training all that is left.
Tests and held-back documents are the same under every seed, so that answers under two seeds can be
paired by document. What is left is divided by the seed of the run.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data.construct import EXAMPLES, Construction, Groups, Pool, read_set
from trimllm.data.document import all_free, write_documents
from trimllm.data.rows import MAX_FAILED, Row

TRAIN, HELD_BACK, CALIBRATION = "train", "held_back", "calibration"
# Largest share of a training set, without tests, that is set aside: a small domain must keep
# documents to train on. `OWN_SHARES`: of a calibration set of its own.
SHARES = {HELD_BACK: 0.1, CALIBRATION: 0.25}
OWN_SHARES = {HELD_BACK: 0.25, CALIBRATION: 1.0}
FEWEST = {HELD_BACK: 4, CALIBRATION: 4, TRAIN: 8}  # documents, unless limits ask for fewer
FEWEST_TESTED = 4
GOLDEN = (5**0.5 - 1) / 2  # its multiples, modulo 1, lie far apart, however many there are
Constructions = Mapping[str, Construction] | None
Limits = Mapping[str, int | None]
Splits = dict[str, list[Row]]


def prepare(
    spec: Mapping[str, Any],
    directory: str | Path,
    *,
    seed: int,
    limits: Limits,
    constructions: Constructions = None,
    provenance: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write {train,calibration,held_back,tests/TASK}.jsonl and report.json of a domain; without a
    training set tests and report only.

    Args:
        spec: the domain as its YAML declares it, valid by its schema.
        seed: divides the documents that are neither tests nor held back.
        limits: most for "test" (None: all), "held_back" and "calibration" (at most `SHARES`).
        constructions: others than the library's, by `construct.kind`.

    Returns the report. Raises `UserError`, and writes nothing, if a source cannot be read, more
    than 5% of its rows do not parse, a calibration document is a test document or too few are left.
    """
    splits, report = _split(spec, constructions, seed, limits)
    report |= {"domain": spec["label"], "seed": seed, "limits": dict(limits), "files": {}}
    report |= {"stand_in": spec.get("stand_in"), "licence": spec.get("licence")}
    report |= {"provenance": dict(provenance)} if provenance else {}
    for split, rows in splits.items():
        path = Path(directory, f"{split}.jsonl")
        write_documents(path, [row.document for row in rows])
        report["files"][f"{split}.jsonl"] = files.sha256_of(path)
    files.write_json(Path(directory, "report.json"), report)
    return report


def _split(
    spec: Mapping[str, Any], constructions: Constructions, seed: int, limits: Limits
) -> tuple[Splits, dict[str, Any]]:
    """Rows by split, and the report on them."""
    pools: dict[str, Pool] = {}
    most = {name: limits.get(name) or sys.maxsize for name in ("test", *FEWEST)}

    def pool(name: str, task: Mapping[str, Any] | None = None) -> Pool:
        try:
            if name not in pools:
                declared = {"from": [task]} if task else spec["sets"][name]
                # A task's documents stay in their order, as lm-eval's `--limit` takes them.
                pools[name] = read_set(name, declared, constructions, shuffled=not task)
        except UserError as error:
            raise UserError(f"sets.{name}: {error}") from error
        return pools[name]

    train = pool(spec["train"]) if spec.get("train") else None
    calibration = pool(spec["calibration"]) if train and spec.get("calibration") else train
    splits: Splits = {}
    tests: dict[str, Pool] = {}
    used: set[str] = set()
    for task, test in spec["tests"].items():
        one = pool(test["set"]) if "set" in test else pool(f"lm-eval {test['task']}", test)
        tests[task] = one
        size = min(most["test"], test.get("documents") or sys.maxsize)
        rows = splits[f"tests/{task}"] = _take(one.groups, size, used)
        _check(one, f"tests/{task}", rows, min(size, FEWEST_TESTED))
        used |= {row.group for row in rows}
    removed = 0
    if train and calibration:
        tested = [row for rows in splits.values() for row in rows]
        clean = _without_tests(train, calibration, tested, [*tests.values()])
        removed = len(train.rows) - sum(map(len, clean.values()))
        own = calibration.groups if calibration is not train else None
        parts = _divide(clean, own, used, seed, most)
        for name, fewest in FEWEST.items():
            one = train if name == TRAIN else calibration
            _check(one, name, parts[name], min(fewest, most[name]))
        splits = parts | splits
    return splits, {
        "sets": {name: one.report for name, one in pools.items()},
        "splits": {name: {"documents": len(rows)} for name, rows in splits.items()},
        "tests": {task: {"set": one.name} for task, one in tests.items()},
        "train_documents_removed_as_test_documents": removed,
    }


def _check(pool: Pool, split: str, rows: Sequence[Row], needed: int) -> None:
    """Raise `UserError` if a split is too small, or has documents of both kinds."""
    if split != TRAIN:  # free answers may be trained on whatever the tests are
        all_free([row.document for row in rows], split)
    if len(rows) < needed:
        reasons = pool.report["rows_left_out"].items()
        left_out = "".join(f", {number} left out as {reason}" for reason, number in reasons)
        raise UserError(
            f"set {pool.name}: {len(pool.rows)} documents (of {pool.report['rows_read']} rows in "
            f"{', '.join(pool.report['sources'])}{left_out}) are too few: {len(rows)} are left "
            f"for {split}, which needs {needed}; give more rows, or test on less (`documents`)"
        )


def _without_tests(
    train: Pool, calibration: Pool, tested: Sequence[Row], tests: Sequence[Pool]
) -> Groups:
    """Groups of the training set that hold no test document; one set for both is split instead.
    `UserError` if a calibration document is a test document, or many training documents are."""
    # With free answers or drawn wrong choices the same prompt is the same question.
    rows = [*tested, *train.rows, *calibration.rows]
    by_prompt = any(row.drawn or row.document.free for row in rows)
    known = {row.content(by_prompt): row for row in tested}

    def leaked(pool: Pool, split: str, share: float, remedy: str) -> list[Row]:
        leaks = [row for row in pool.rows if row.content(by_prompt) in known]
        if len(leaks) > share * len(pool.rows):
            pairs = ((one.where, known[one.content(by_prompt)].where) for one in leaks[:EXAMPLES])
            raise UserError(
                f"{split}: {len(leaks)} of the {len(pool.rows)} documents of set {pool.name} are "
                f"test documents ({', '.join(map(' is '.join, pairs))}); {remedy}"
            )
        return leaks

    if calibration not in (train, *tests):
        leaked(calibration, CALIBRATION, 0.0, "calibrate on training or validation data")
    if train in tests:
        return train.groups
    leaks = leaked(train, TRAIN, MAX_FAILED, "take them out of one of the two")
    gone = {row.group for row in leaks}
    return {name: group for name, group in train.groups.items() if name not in gone}


def _divide(
    train: Groups, own: Groups | None, tested: set[str], seed: int, most: Mapping[str, int]
) -> Splits:
    """Documents to train on, out of `train`; to calibrate on and held back, out of a calibration
    set of its own, or of `train`."""
    source, shares = (train, SHARES) if own is None else (own, OWN_SHARES)
    free = sum(len(group) for name, group in source.items() if name not in tested)
    size = {n: min(most[n], max(FEWEST[n], int(shares[n] * free))) for n in shares}
    held_back = _take(source, size[HELD_BACK], tested)
    used = tested | {row.group for row in held_back}
    calibrated = _take(source, size[CALIBRATION], used, seed)
    used_too = {row.group for row in calibrated}
    trained = [row for row in _take(train, sys.maxsize, used, seed) if row.group not in used_too]
    return {TRAIN: trained, HELD_BACK: held_back, CALIBRATION: calibrated}


def _take(groups: Groups, size: int, used: set[str], seed: int = 0) -> list[Row]:
    """The unused groups that fit into `size` documents; each seed starts elsewhere. Neighbours
    stay neighbours: wrong choices may come from rows nearby, and every stretch holds the classes
    in equal shares."""
    left = [name for name in groups if name not in used]
    start = int(seed * GOLDEN % 1 * len(left))
    rows: list[Row] = []
    for name in left[start:] + left[:start]:
        if len(rows) + len(groups[name]) <= size:
            rows += groups[name]
    return rows
