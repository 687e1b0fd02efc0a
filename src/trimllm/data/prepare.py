"""Prepare a domain: read, construct, split, check, write, report.

Splits are taken in this order, and never one question in two of them: tests; documents held back,
by which checkpoints are chosen; the pool of calibration documents; for training all that is left.

Tests and held-back documents are the same under every seed, so that answers under two seeds can be
paired by document. What is left is divided by the seed of the run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data.construct import EXAMPLES, Construction, Item, Pool, read_set, read_task
from trimllm.data.document import all_free, write_documents
from trimllm.data.rows import MAX_FAILED

TRAIN, HELD_BACK, CALIBRATION = "train", "held_back", "calibration"
SHARES = {HELD_BACK: 0.1, CALIBRATION: 0.25}
"""Largest share of a training set, without tests, that is set aside: a small domain must keep
documents to train on. `OWN_SHARES`: of a calibration set of its own."""
OWN_SHARES = {HELD_BACK: 0.25, CALIBRATION: 1.0}
FEWEST = {HELD_BACK: 4, CALIBRATION: 4, TRAIN: 8}
"""Least documents of a split, unless limits ask for fewer."""
FEWEST_TESTED = 4
GOLDEN = (5**0.5 - 1) / 2
"""Its multiples, modulo 1, lie far apart, however many there are."""
Limits = Mapping[str, int | None]
Splits = dict[str, list[Item]]


def prepare(
    spec: Mapping[str, Any],
    directory: str | Path,
    *,
    seed: int,
    limits: Limits,
    constructions: Mapping[str, Construction] | None = None,
    provenance: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write {train,calibration,held_back,tests/TASK}.jsonl and report.json of a domain.

    A domain without a training set has tests and a report only.

    Args:
        spec: the domain as its YAML declares it, valid by its schema.
        seed: divides the documents that are neither tests nor held back.
        limits: most documents for "test" (None: all), "held_back" and "calibration" (at most
            `SHARES`). Training takes all that are left.
        constructions: others than the library's, by `construct.kind`.

    Returns:
        The report: rows read, left out and why; sizes and hashes of the files.

    Raises:
        UserError: a source is missing or corrupt, more than 5% of its rows do not parse, a
            calibration document is a test document, or too few documents are left. Nothing is
            written then.
    """
    splits, report = _split(spec, constructions or {}, seed, limits)
    documents = {split: [item.document for item in items] for split, items in splits.items()}
    for split, part in documents.items():
        if split != TRAIN:  # free answers may be trained on whatever the tests are
            all_free(part, split)
    hashes = {}
    for split, part in documents.items():
        path = Path(directory, f"{split}.jsonl")
        write_documents(path, part)
        hashes[f"{split}.jsonl"] = files.sha256_of(path)
    report |= {"domain": spec["label"], "seed": seed, "limits": dict(limits), "files": hashes}
    report |= {"stand_in": spec.get("stand_in"), "licence": spec.get("licence")}
    report |= {"provenance": dict(provenance)} if provenance else {}
    files.write_json(Path(directory, "report.json"), report)
    return report


def _split(
    spec: Mapping[str, Any], constructions: Mapping[str, Construction], seed: int, limits: Limits
) -> tuple[Splits, dict[str, Any]]:
    """Items by split, and the report on them."""
    pools: dict[str, Pool] = {}

    def pool(name: str) -> Pool:
        try:
            if name not in pools:
                pools[name] = read_set(name, spec["sets"][name], constructions)
        except UserError as error:
            raise UserError(f"sets.{name}: {error}") from error
        return pools[name]

    train = pool(spec["train"]) if spec.get("train") else None
    calibration = pool(spec["calibration"]) if train and spec.get("calibration") else train
    splits: Splits = {}
    tests: dict[str, Pool] = {}
    used: set[str] = set()
    for task, test in spec["tests"].items():
        one = tests[task] = pool(test["set"]) if "set" in test else read_task(test)
        pools.setdefault(one.name, one)
        sizes = [size for size in (limits.get("test"), test.get("documents")) if size]
        items = splits[f"tests/{task}"] = _take(one.groups, min(sizes, default=None), used)
        _check(one, f"tests/{task}", items, min([*sizes, FEWEST_TESTED]))
        used |= {item.group for item in items}
    removed = 0
    if train and calibration:
        tested = [item for items in splits.values() for item in items]
        clean = _without_tests(train, calibration, tested, [*tests.values()])
        removed = len(train.items) - sum(map(len, clean))
        source = clean if calibration is train else calibration.groups
        shares = SHARES if calibration is train else OWN_SHARES
        parts = _divide(clean, source, shares, used, seed, limits)
        for name, fewest in FEWEST.items():
            one = train if name == TRAIN else calibration
            _check(one, name, parts[name], _limited(limits, name, fewest))
        splits = parts | splits
    return splits, {
        "sets": {name: one.report for name, one in pools.items()},
        "splits": {name: {"documents": len(items)} for name, items in splits.items()},
        "tests": {task: {"set": one.name} for task, one in tests.items()},
        "train_documents_removed_as_test_documents": removed,
    }


def _check(pool: Pool, split: str, items: Sequence[Item], needed: int) -> None:
    """Raise `UserError` if a split that was taken from a set is too small."""
    if len(items) < needed:
        reasons = pool.report.get("rows_left_out", {}).items()
        left_out = "".join(f", {number} left out as {reason}" for reason, number in reasons)
        raise UserError(
            f"set {pool.name}: {len(pool.items)} documents (of {pool.report['rows_read']} rows in "
            f"{', '.join(pool.report['sources'])}{left_out}) are too few: {len(items)} are left "
            f"for {split}, which needs {needed}; give more rows, or test on less (`documents`)"
        )


def _without_tests(
    train: Pool, calibration: Pool, tested: Sequence[Item], tests: Sequence[Pool]
) -> list[list[Item]]:
    """Groups of the training set that hold no test document; one set for both is split instead.

    Raises `UserError` if a calibration document is a test document, or many training documents are.
    """
    # With free answers or drawn wrong choices the same prompt is the same question.
    items = [*tested, *train.items, *calibration.items]
    by_prompt = any(item.drawn or item.document.free for item in items)
    known = {item.content(by_prompt): item for item in tested}
    leaked: list[Item] = []
    for pool, split, share, remedy in (
        (calibration, CALIBRATION, 0.0, "calibrate on training or validation data"),
        (train, TRAIN, MAX_FAILED, "take them out of one of the two"),
    ):
        if pool in tests or (split == CALIBRATION and pool is train):
            continue
        leaked = [item for item in pool.items if item.content(by_prompt) in known]
        if len(leaked) > share * len(pool.items):
            pairs = ((one.where, known[one.content(by_prompt)].where) for one in leaked[:EXAMPLES])
            raise UserError(
                f"{split}: {len(leaked)} of the {len(pool.items)} documents of set {pool.name} are "
                f"test documents ({', '.join(map(' is '.join, pairs))}); {remedy}"
            )
    groups = {item.group for item in leaked}
    return [group for group in train.groups if group[0].group not in groups]


def _divide(
    train: Sequence[list[Item]],
    source: Sequence[list[Item]],
    shares: Mapping[str, float],
    tested: set[str],
    seed: int,
    limits: Limits,
) -> Splits:
    """Documents to train on, out of `train`; to calibrate on and held back, out of `source`."""
    free = sum(len(group) for group in source if group[0].group not in tested)
    size = {n: _limited(limits, n, max(FEWEST[n], int(shares[n] * free))) for n in shares}
    held_back = _take(source, size[HELD_BACK], tested)
    used = tested | {item.group for item in held_back}
    calibrated = _take(_rotated(source, seed, used), size[CALIBRATION], set())
    trained = _take(_rotated(train, seed, used), None, {item.group for item in calibrated})
    return {TRAIN: trained, HELD_BACK: held_back, CALIBRATION: calibrated}


def _rotated(groups: Sequence[list[Item]], seed: int, used: set[str]) -> list[list[Item]]:
    """The groups that are left, starting elsewhere for each seed. Neighbours stay neighbours: wrong
    choices may come from rows nearby, and every stretch holds the classes in equal shares."""
    left = [group for group in groups if group[0].group not in used]
    start = int(seed * GOLDEN % 1 * len(left))
    return left[start:] + left[:start]


def _take(groups: Sequence[list[Item]], size: int | None, used: set[str]) -> list[Item]:
    """The first groups that fit into `size` documents (None: all), without those used."""
    items: list[Item] = []
    for group in groups:
        if group[0].group not in used and (size is None or len(items) + len(group) <= size):
            items += group
    return items


def _limited(limits: Limits, name: str, size: int) -> int:
    limit = limits.get(name)
    return size if limit is None else min(limit, size)
