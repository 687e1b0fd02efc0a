"""Prepare a domain: read, construct, split, check, write, report."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data import split
from trimllm.data.construct import Item, construct, words
from trimllm.data.document import Document, normalised, write_documents
from trimllm.data.rows import Row, RowError, parse_row
from trimllm.data.sources import Read, read_source

MAX_FAILED = 0.05
"""Share of rows that may fail to parse, or of training documents that may be test documents."""
NAMED = 3
"""Rows that fail to parse and are named."""

Reader = Callable[[Mapping[str, Any]], Read]


@dataclass(frozen=True)
class Pool:
    """All documents of one set, grouped and in the order in which splits take them."""

    name: str
    groups: list[list[Item]]
    report: dict[str, Any]


def prepare(
    spec: Mapping[str, Any],
    directory: str | Path,
    *,
    downloads: str | Path,
    seed: int,
    limits: Mapping[str, int | None],
    wheels: Mapping[str, Mapping[str, str]] | None = None,
    provenance: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write train.jsonl, calibration.jsonl, tests/{task}.jsonl and report.json of a domain.

    A domain without a training set is one to test on: it has tests and a report only.

    Args:
        spec: the domain as its YAML declares it; taken to be as its schema demands.
        directory: where the files go.
        downloads: folder that holds the fetched wheels.
        seed: of every draw.
        limits: documents at most, for "train", "calibration" and "test"; None means all.
        wheels: version and sha256 of the wheels; without it a wheel's sha256 is only recorded.
        provenance: goes into the report as it is.

    Returns:
        The report: rows read, left out and why, sizes, class counts, hashes, construction in words.

    Raises:
        UserError: a source is missing or corrupt, more than 5% of its rows do not parse, a
            calibration document is a test document, or too few documents are left. Nothing is
            written then.
    """

    def read(source: Mapping[str, Any]) -> Read:
        return read_source(source, downloads=Path(downloads), wheels=wheels)

    name = spec.get("label") or "unnamed"
    try:
        splits, tests, report = _split(spec, read, seed, limits)
    except UserError as error:
        raise UserError(f"domain {name}: {error}") from error
    directory = Path(directory)
    hashes = {}
    for file, items in splits.items():
        write_documents(directory / file, (item.document for item in items))
        hashes[file] = files.sha256_of(directory / file)
    report |= {"domain": name, "seed": seed, "limits": dict(limits), "files": hashes}
    report |= {"tests": tests, "stand_in": spec.get("stand_in"), "licence": spec.get("licence")}
    report |= {"provenance": dict(provenance)} if provenance else {}
    files.write_json(directory / "report.json", report)
    return report


def _split(
    spec: Mapping[str, Any], read: Reader, seed: int, limits: Mapping[str, int | None]
) -> tuple[dict[str, list[Item]], dict[str, Any], dict[str, Any]]:
    """Items by file; of each test its set and construction; and the rest of the report."""
    pools: dict[str, Pool] = {}

    def pool(name: str) -> Pool:
        if name not in spec["sets"]:
            known = ", ".join(sorted(spec["sets"]))
            raise UserError(f"no set {name!r} of this domain (there are: {known})")
        if name not in pools:
            pools[name] = make_pool(name, spec["sets"][name], read, seed)
        return pools[name]

    splits: dict[str, list[Item]] = {}
    tests: dict[str, Any] = {}
    for task, how in spec["tests"].items():
        if "set" in how:
            source = pool(how["set"])
        else:  # an lm-eval task: its documents in their own order, as `--limit` takes them
            name = f"lm-eval {how['task']}"
            source = make_pool(name, {"from": [how]}, read, 0, shuffle=False)
            pools.setdefault(name, source)
        sizes = (limits.get("test"), how.get("documents"))
        size = min((size for size in sizes if size is not None), default=None)
        earlier = [t for t, test in tests.items() if test["set"] == source.name]
        used = {item.group for t in earlier for item in splits[f"tests/{t}.jsonl"]}
        splits[f"tests/{task}.jsonl"] = split.take(source.groups, size, used)
        _answerable(splits[f"tests/{task}.jsonl"], f"tests.{task}")
        tests[task] = {"set": source.name, "construction": source.report["construction"]}
    trained, removed = {}, 0
    if spec.get("train"):
        tested = [item for items in splits.values() for item in items]
        sets = {test["set"] for test in tests.values()}
        trained, removed = _training(spec, pool, tested, sets, limits)
    splits = trained | splits
    report = {
        "sets": {name: pool.report for name, pool in pools.items()},
        "splits": {file.removesuffix(".jsonl"): _summary(items) for file, items in splits.items()},
        "train_documents_removed_as_test_documents": removed,
        "construction": "; ".join(dict.fromkeys(test["construction"] for test in tests.values())),
    }
    return splits, tests, report


def _training(
    spec: Mapping[str, Any],
    pool: Callable[[str], Pool],
    tested: Sequence[Item],
    tested_sets: set[str],
    limits: Mapping[str, int | None],
) -> tuple[dict[str, list[Item]], int]:
    """Documents to train and to calibrate on, and how many were removed as test documents.

    A set that holds tests, too, is split instead: it shares no group with them.
    """
    hashes = {item.document.hash for item in tested}

    def overlap(groups: Sequence[list[Item]]) -> int:
        return sum(item.document.hash in hashes for group in groups for item in group)

    train = pool(spec["train"])
    calibration = pool(spec.get("calibration") or spec["train"])
    own = spec.get("calibration") and calibration.name not in tested_sets
    if own and (found := overlap(calibration.groups)):
        raise UserError(
            f"calibration: {found} of the {_size(calibration.groups)} documents of set "
            f"{calibration.name} are test documents; calibrate on training or validation data"
        )
    clean = train.groups
    if train.name not in tested_sets:
        clean = [group for group in train.groups if not overlap([group])]
    total, removed = _size(train.groups), _size(train.groups) - _size(clean)
    if removed > MAX_FAILED * total:
        raise UserError(
            f"train: {removed} of the {total} documents of set {train.name} are test documents"
        )
    without, wanted = {item.group for item in tested}, limits.get("calibration")
    chosen = split.take(clean if calibration is train else calibration.groups, wanted, without)
    _answerable(chosen, "calibration")
    if wanted is not None and len(chosen) < wanted:
        raise UserError(f"calibration: only {len(chosen)} documents are left of {wanted} asked for")
    kept = split.take(clean, limits.get("train"), without | {item.group for item in chosen})
    if not kept:
        raise UserError("train: no document is left after the tests and the calibration")
    return {"train.jsonl": kept, "calibration.jsonl": chosen}, removed


def _size(groups: Sequence[list[Item]]) -> int:
    return sum(map(len, groups))


def make_pool(
    name: str, how: Mapping[str, Any], read: Reader, seed: int, *, shuffle: bool = True
) -> Pool:
    """Read one set of the YAML and make its documents."""
    try:
        return _made(name, how, read, random.Random(f"{seed}:{name}"), shuffle)
    except UserError as error:
        raise UserError(f"sets.{name}: {error}") from error


def _made(
    name: str, how: Mapping[str, Any], read: Reader, rng: random.Random, shuffle: bool
) -> Pool:
    rows: list[Row] = []
    made: list[Item | str] = []
    failures: list[str] = []
    hashes: dict[str, str] = {}
    total = 0
    for source in how["from"]:
        content = read(source)
        hashes |= content.sha256
        total += len(content.rows)
        for where, row in content.rows:
            try:
                if isinstance(row, RowError):
                    raise row
                if isinstance(row, Document):
                    made.append(Item(row, normalised(row.prompt)))
                    continue
                parsed = parse_row(row, {**how, **source})
                rows.append(replace(parsed, label=str(source.get("label", parsed.label))))
            except RowError as reason:
                failures.append(f"{where} ({reason})")
    if len(failures) > MAX_FAILED * total or not total:
        raise UserError(
            f"{len(failures)} of {total} rows do not parse, more than {MAX_FAILED:.0%} "
            f"({'; '.join(failures[:NAMED]) or 'there are none'})"
        )
    made += construct(rows, how, rng)
    items, duplicates = split.deduplicate([item for item in made if isinstance(item, Item)])
    if how.get("balance") and items:
        items = split.balance(items, rng, how.get("per_class"))
    groups = split.in_order(items, rng) if shuffle else [[item] for item in items]
    report = {
        "sources": hashes,
        "construction": words(how.get("construct", {})),
        "rows_read": total,
        "rows_failed": len(failures),
        "rows_failed_examples": failures[:NAMED],
        "rows_left_out": dict(Counter(item for item in made if isinstance(item, str))),
        "duplicates_removed": duplicates,
        "documents": len(items),
        "documents_by_class": _classes(items, how),
    }
    return Pool(name, groups, report)


def _classes(items: Sequence[Item], how: Mapping[str, Any]) -> dict[str, int] | None:
    labels = list(how.get("construct", {}).get("labels", ()))
    if not labels:
        return None
    counts = Counter(item.stratum for item in items)
    missing = [label for index, label in enumerate(labels) if not counts[index]]
    if missing:
        raise UserError(f"no document has the class {', '.join(missing)}; see labels")
    return {label: counts[index] for index, label in enumerate(labels)}


def _answerable(items: Sequence[Item], what: str) -> None:
    if not items:
        raise UserError(f"{what}: no document is left")
    if any(len(item.document.choices) < 2 for item in items):
        raise UserError(f"{what}: a document has a single choice and cannot be answered")


def _summary(items: Sequence[Item]) -> dict[str, Any]:
    """Size of a split, how often each answer index is right, and its mean length."""
    answers = Counter(item.document.answer for item in items)
    length = sum(len(d.prompt) + sum(map(len, d.choices)) for d in (i.document for i in items))
    return {
        "documents": len(items),
        "right_answers": {str(index): answers[index] for index in sorted(answers)},
        "mean_characters": round(length / len(items), 1),
    }
