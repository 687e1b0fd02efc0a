"""Prepare a domain: read, construct, split, check, write, report."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data import spec as declaration
from trimllm.data import split
from trimllm.data.construct import Item, construct, words
from trimllm.data.document import Document, normalised, write_documents
from trimllm.data.rows import Failures, Row, RowError, parse_row
from trimllm.data.sources import read_source

MAX_FAILED = 0.05
"""Share of rows that may fail to parse, or of training documents that may be test documents."""

Reader = Callable[[Mapping[str, Any]], Any]


@dataclass
class Pool:
    """All documents of one set, grouped and in the order in which splits take them."""

    name: str
    groups: list[list[Item]]
    report: dict[str, Any] = field(default_factory=dict)


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
        spec: the domain as its YAML declares it.
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

    def read(source: Mapping[str, Any]) -> Any:
        return read_source(source, downloads=Path(downloads), wheels=wheels)

    name = spec.get("label") or "unnamed"
    declaration.check(spec, f"domain {name}")
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
    pools: dict[str, Pool] = {}

    def pool(name: str) -> Pool:
        if name not in pools:
            pools[name] = make_pool(name, spec["sets"][name], read, seed)
        return pools[name]

    splits: dict[str, list[Item]] = {}
    tests: dict[str, Any] = {}
    for task, how in spec["tests"].items():
        source = pool(how["set"]) if "set" in how else _task_pool(task, how, read)
        pools.setdefault(source.name, source)
        size = _least(limits.get("test"), how.get("documents"))
        earlier = [t for t, test in tests.items() if test["set"] == source.name]
        used = {item.group for t in earlier for item in splits[f"tests/{t}.jsonl"]}
        items = split.take(source.groups, size, used)
        _answerable(items, f"tests.{task}")
        splits[f"tests/{task}.jsonl"] = items
        tests[task] = {"set": source.name, "construction": source.report["construction"]}
    trained, removed = {}, 0
    if spec.get("train"):
        trained, removed = _training(spec, pool, splits, tests, limits)
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
    splits: Mapping[str, Sequence[Item]],
    tests: Mapping[str, Any],
    limits: Mapping[str, int | None],
) -> tuple[dict[str, list[Item]], int]:
    """Documents to train and to calibrate on, and how many were removed as test documents."""
    tested = [item for items in splits.values() for item in items]
    train = pool(spec["train"])
    calibration = pool(spec.get("calibration") or spec["train"])
    if spec.get("calibration"):
        _refuse_overlap(calibration, tested, {how.get("set") for how in spec["tests"].values()})
    without = {item.group for item in tested}
    wanted = limits.get("calibration")
    clean, removed = _without_tested(train, tested, {t["set"] for t in tests.values()})
    source = clean if calibration is train else calibration.groups
    chosen = split.take(source, wanted, without)
    _answerable(chosen, "calibration")
    if wanted is not None and len(chosen) < wanted:
        raise UserError(f"calibration: only {len(chosen)} documents are left of {wanted} asked for")
    kept = split.take(clean, limits.get("train"), without | {item.group for item in chosen})
    if not kept:
        raise UserError("train: no document is left after the tests and the calibration")
    return {"train.jsonl": kept, "calibration.jsonl": chosen}, removed


def make_pool(
    name: str, how: Mapping[str, Any], read: Reader, seed: int, *, shuffle: bool = True
) -> Pool:
    """Read one set of the YAML and make its documents."""
    rng = random.Random(f"{seed}:{name}")
    rows: list[Row] = []
    ready: list[Document] = []
    failures, total = Failures(), 0
    hashes: dict[str, str] = {}
    for source in how["from"]:
        try:
            content = read(source)
        except UserError as error:
            raise UserError(f"sets.{name}: {error}") from error
        hashes |= content.sha256
        total += len(content.rows)
        for where, row in content.rows:
            try:
                if isinstance(row, RowError):
                    raise row
                if isinstance(row, Document):
                    ready.append(row)
                    continue
                parsed = parse_row(row, {**how, **source})
                rows.append(replace(parsed, label=str(source.get("label", parsed.label))))
            except RowError as reason:
                failures.add(where, str(reason))
    if failures.count > MAX_FAILED * total or not total:
        raise UserError(
            f"sets.{name}: {failures.count} of {total} rows do not parse, more than "
            f"{MAX_FAILED:.0%} ({'; '.join(failures.examples) or 'there are none'})"
        )
    made = [Item(document, normalised(document.prompt)) for document in ready]
    try:
        made += construct(rows, how, rng)
    except UserError as error:
        raise UserError(f"sets.{name}: {error}") from error
    reasons = Counter(item for item in made if isinstance(item, str))
    items, duplicates = split.deduplicate([item for item in made if isinstance(item, Item)])
    if how.get("balance") and items:
        items = split.balance(items, rng, how.get("per_class"))
    groups = split.in_order(items, rng) if shuffle else [[item] for item in items]
    report = {
        "sources": hashes,
        "construction": words(how.get("construct", {})),
        "rows_read": total,
        "rows_failed": failures.count,
        "rows_failed_examples": failures.examples,
        "rows_left_out": dict(reasons),
        "duplicates_removed": duplicates,
        "documents": len(items),
        "documents_by_class": _classes(items, how),
    }
    return Pool(name, groups, report)


def _task_pool(task: str, how: Mapping[str, Any], read: Reader) -> Pool:
    """A test that is an lm-eval task: its documents in their own order, as `--limit` takes them."""
    name = f"lm-eval {how['task']}"
    return make_pool(name, {"from": [how]}, read, 0, shuffle=False)


def _classes(items: Sequence[Item], how: Mapping[str, Any]) -> dict[str, int] | None:
    labels = list(how.get("construct", {}).get("labels", ()))
    if not labels:
        return None
    counts = Counter(item.stratum for item in items)
    missing = [label for index, label in enumerate(labels) if not counts[index]]
    if missing:
        raise UserError(f"no document has the class {', '.join(missing)}; see labels")
    return {label: counts[index] for index, label in enumerate(labels)}


def _refuse_overlap(calibration: Pool, tested: Sequence[Item], shared: set[str | None]) -> None:
    """A calibration set of its own must hold no test document; a shared set is split instead."""
    if calibration.name in shared:
        return
    known = {item.document.hash for item in tested}
    own = [item for group in calibration.groups for item in group]
    found = sum(item.document.hash in known for item in own)
    if found:
        raise UserError(
            f"calibration: {found} of the {len(own)} documents of set {calibration.name} are test "
            "documents; calibrate on training or validation data"
        )


def _without_tested(
    train: Pool, tested: Sequence[Item], shared: set[str]
) -> tuple[list[list[Item]], int]:
    """Training groups without test documents, and how many documents that removed."""
    if train.name in shared:
        return train.groups, 0
    known = {item.document.hash for item in tested}
    clean = [g for g in train.groups if not any(item.document.hash in known for item in g)]
    total, left = (sum(map(len, groups)) for groups in (train.groups, clean))
    if total - left > MAX_FAILED * total:
        raise UserError(
            f"train: {total - left} of the {total} documents of set {train.name} are test documents"
        )
    return clean, total - left


def _answerable(items: Sequence[Item], what: str) -> None:
    if not items:
        raise UserError(f"{what}: no document is left")
    if any(len(item.document.choices) < 2 for item in items):
        raise UserError(f"{what}: a document has a single choice and cannot be answered")


def _least(*sizes: int | None) -> int | None:
    return min((size for size in sizes if size is not None), default=None)


def _summary(items: Sequence[Item]) -> dict[str, Any]:
    """Size of a split, how often each answer index is right, and its mean length."""
    answers = Counter(item.document.answer for item in items)
    length = sum(len(d.prompt) + sum(map(len, d.choices)) for d in (i.document for i in items))
    return {
        "documents": len(items),
        "right_answers": {str(index): answers[index] for index in sorted(answers)},
        "mean_characters": round(length / len(items), 1),
    }
