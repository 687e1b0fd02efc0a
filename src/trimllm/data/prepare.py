"""Prepare a domain: read, construct, split, check, write, report.

Splits are made in this order, and never one question in two of them: tests, documents held back (by
which choices between checkpoints are made), the pool of calibration documents, and for training all
that is left.

Which documents are tests or held back is drawn once for all seeds, so that what two seeds answer
can be paired by document. What is left is divided by the seed of the run.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data import bag_of_words
from trimllm.data.construct import REPEATED, Item, construct, kind_of, labels_of, words
from trimllm.data.document import Document, all_free, bare, write_documents
from trimllm.data.rows import MAX_FAILED, Row, RowError, parse_row
from trimllm.data.sources import Read, read_source
from trimllm.data.split import DATA_SEED, balance, deduplicate, in_order, shuffled, take, turned

TRAIN = "train.jsonl"
NAMED = 3
"""Rows that fail to parse and are named."""
SHARES = {"held_back": 0.1, "calibration": 0.25}
"""At most so much of what the tests leave of a training set is set aside: a small domain must keep
documents to train on. (Of a set that nobody trains on, see `OWN_SHARES`.)"""
OWN_SHARES = {"held_back": 0.25, "calibration": 1.0}
FEWEST = {"test": 4, "held_back": 4, "calibration": 4, "train": 8}
"""Documents of a split at least, where limits do not ask for fewer: of four, one is a quarter of a
score, and eight are a batch."""
PURPOSE = {"held_back": "to be held back", "calibration": "to calibrate", "train": "to train"}
Limits = Mapping[str, int | None]


@dataclass(frozen=True, eq=False)
class Pool:
    """All documents of one set, grouped and in the order in which splits take them."""

    name: str
    groups: list[list[Item]]
    report: dict[str, Any]
    needs: dict[str, int] = field(default_factory=dict)
    """How many documents are needed, by what for."""

    @property
    def items(self) -> list[Item]:
        """All documents."""
        return [item for group in self.groups for item in group]

    def check_size(self) -> None:
        """Raise `UserError`, which says how many are needed and what for, where it is too small."""
        if (found := len(self.items)) < (total := sum(self.needs.values())):
            told = ", ".join(f"{count} {purpose}" for purpose, count in self.needs.items())
            rows, files = self.report["rows_read"], ", ".join(self.report["sources"])
            reasons = self.report["rows_left_out"].items()
            left_out = "".join(f", {count} left out as {reason}" for reason, count in reasons)
            raise UserError(
                f"set {self.name}: {found} documents (of {rows} rows in {files}{left_out}) are too "
                f"few, {total} are needed: {told}; give more rows, or test on less (`documents`)"
            )


def prepare(
    spec: Mapping[str, Any],
    directory: str | Path,
    *,
    downloads: str | Path,
    seed: int,
    limits: Limits,
    wheels: Mapping[str, Mapping[str, str]] | None = None,
    provenance: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write {train,calibration,held_back,tests/TASK}.jsonl and report.json of a domain.

    A domain without a training set is one to test on: it has tests and a report only.

    Args:
        spec: the domain as its YAML declares it; taken to be as its schema demands.
        directory: where the files go.
        downloads: folder that holds the fetched wheels.
        seed: says which of the documents that are neither tests nor held back are calibrated on,
            and in what order the others are trained on. Tests and held-back documents are the same
            under every seed.
        limits: documents at most, for "test" (None: all), "held_back" and "calibration" (at most
            a share of the set, see `SHARES`). Training takes all that are left.
        wheels: version and sha256 of the wheels; without it a wheel's sha256 is only recorded.
        provenance: goes into the report as it is.

    Returns:
        The report: rows read, left out and why, sizes, class counts, hashes, construction in words,
        and what a bag of words answers rightly of each test, in %.

    Raises:
        UserError: a source is missing or corrupt, more than 5% of its rows do not parse, a
            calibration document is a test document, or too few documents are left. Nothing is
            written then.
    """
    name, directory = spec.get("label") or "unnamed", Path(directory)
    read = partial(read_source, downloads=Path(downloads), wheels=wheels)
    with _within(f"domain {name}"):
        splits, report = _split(spec, read, seed, limits)
    for task, test in report["tests"].items() if TRAIN in splits else ():
        tested = [item.document for item in splits[f"tests/{task}.jsonl"]]
        trained = [item.document for item in splits[TRAIN]]
        test["bag_of_words"] = bag_of_words.accuracy(trained, tested)
    hashes = {}
    for file, items in splits.items():
        write_documents(directory / file, (item.document for item in items))
        hashes[file] = files.sha256_of(directory / file)
    report |= {"domain": name, "seed": seed, "limits": dict(limits), "files": hashes}
    report |= {"stand_in": spec.get("stand_in"), "licence": spec.get("licence")}
    report |= {"provenance": dict(provenance)} if provenance else {}
    files.write_json(directory / "report.json", report)
    return report


@contextmanager
def _within(place: str) -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


def _split(
    spec: Mapping[str, Any], read: Callable[..., Read], seed: int, limits: Limits
) -> tuple[dict[str, list[Item]], dict[str, Any]]:
    """Items by file, and what the report says of them."""
    pools: dict[str, Pool] = {}

    def made(name: str, how: Mapping[str, Any], rng: random.Random | None) -> Pool:
        with _within(f"sets.{name}"):
            return Pool(name, *_read_set(how, read, rng))

    def pool(name: str) -> Pool:
        if name not in spec["sets"]:
            known = ", ".join(sorted(spec["sets"]))
            raise UserError(f"no set {name!r} of this domain (there are: {known})")
        if name not in pools:
            pools[name] = made(name, spec["sets"][name], random.Random(f"{DATA_SEED}:{name}"))
        return pools[name]

    splits: dict[str, list[Item]] = {}
    tests: dict[str, Any] = {}
    train = pool(spec["train"]) if spec.get("train") else None
    calibration = pool(spec["calibration"]) if train and spec.get("calibration") else train
    for task, how in spec["tests"].items():
        if "set" in how:
            source = pool(how["set"])
        else:  # an lm-eval task: its documents in their own order, as `--limit` takes them
            source = made(f"lm-eval {how['task']}", {"from": [how]}, None)
            pools.setdefault(source.name, source)
        sizes = [n for n in (limits.get("test"), how.get("documents")) if n is not None]
        size = min(sizes, default=None)
        earlier = [t for t, test in tests.items() if test["set"] == source.name]
        used = {item.group for t in earlier for item in splits[f"tests/{t}.jsonl"]}
        whole = len(source.items) if size is None else size
        sure = whole if source in (train, calibration) else min(whole, FEWEST["test"])
        source.needs[f"for tests.{task}"] = sure
        splits[f"tests/{task}.jsonl"] = take(source.groups, size, used)
        tests[task] = {"set": source.name, "construction": source.report["construction"]}
    if train and calibration:
        for name in ("held_back", "calibration"):
            calibration.needs[PURPOSE[name]] = _limited(limits[name], FEWEST[name])
        train.needs[PURPOSE["train"]] = FEWEST["train"]
    for one in pools.values():
        one.check_size()
    removed = 0
    if train and calibration:
        tested = [item for items in splits.values() for item in items]
        sets = {test["set"] for test in tests.values()}
        trained, removed = _training(train, calibration, tested, sets, seed, limits)
        splits = trained | splits
    for file, items in splits.items():
        _check_kind(items, file.removesuffix(".jsonl"))
    return splits, {
        "sets": {name: pool.report for name, pool in pools.items()},
        "splits": {file.removesuffix(".jsonl"): _summary(items) for file, items in splits.items()},
        "tests": tests,
        "train_documents_removed_as_test_documents": removed,
        "construction": "; ".join(dict.fromkeys(test["construction"] for test in tests.values())),
    }


def _training(
    train: Pool,
    calibration: Pool,
    tested: list[Item],
    tested_sets: set[str],
    seed: int,
    limits: Limits,
) -> tuple[dict[str, list[Item]], int]:
    """Documents to train on, to calibrate on and held back, and how many of the training set were
    removed as test documents.

    A set that holds tests, too, is split instead: it shares no group with them. What is held back
    is of the set that is calibrated on.
    """
    asked = _asked([*tested, *train.items, *calibration.items])
    known = {asked(item): item for item in tested}

    def test_documents(pool: Pool) -> list[Item]:
        own = () if pool.name in tested_sets else pool.items
        return [item for item in own if asked(item) in known]

    def named(found: list[Item]) -> str:
        pairs = [(item.where, known[asked(item)].where) for item in found[:NAMED]]
        return ", ".join(f"{here} is {there}" for here, there in pairs if here and there)

    total = train.report["documents"]
    if calibration is not train and (found := test_documents(calibration)):
        raise UserError(
            f"calibration: {len(found)} of the {calibration.report['documents']} documents of set "
            f"{calibration.name} are test documents ({named(found)}); calibrate on training or "
            "validation data"
        )
    found = test_documents(train)
    if len(found) > MAX_FAILED * total:
        raise UserError(
            f"train: {len(found)} of the {total} documents of set {train.name} are test documents "
            f"({named(found)}); take them out of one of the two"
        )
    gone = {item.group for item in found}
    clean = [group for group in train.groups if group[0].group not in gone]
    removed = total - sum(map(len, clean))
    mixed = calibration is train
    source, shares = (clean, SHARES) if mixed else (calibration.groups, OWN_SHARES)
    used = {item.group for item in tested}
    free = sum(len(group) for group in source if group[0].group not in used)

    def size(name: str) -> int:
        return _limited(limits[name], max(FEWEST[name], int(shares[name] * free)))

    held_back = take(source, size("held_back"), used)
    used |= {item.group for item in held_back}
    calibrated = take(turned(source, seed, used), size("calibration"), set())
    trained = take(turned(clean, seed, used), None, {item.group for item in calibrated})
    splits = {TRAIN: trained, "held_back.jsonl": held_back, "calibration.jsonl": calibrated}
    return splits, removed


def _asked(items: Sequence[Item]) -> Callable[[Item], str]:
    """What two of these items have in common that must not stand in two splits: all; where answers
    are free or wrong choices drawn, the prompt."""
    if any(item.drawn or item.document.free for item in items):
        return lambda item: bare(item.document.prompt)
    return lambda item: item.content


def _limited(limit: int | None, wanted: int) -> int:
    return wanted if limit is None else min(limit, wanted)


def _read_set(
    how: Mapping[str, Any], read: Callable[..., Read], rng: random.Random | None
) -> tuple[list[list[Item]], dict[str, Any]]:
    """Groups of a set's documents, without `rng` in their own order, and the report on them."""
    rows: list[Row | Document] = []
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
                if not isinstance(row, Document):
                    row = replace(parse_row(row, {**how, **source}), where=where)
                rows.append(row)
            except RowError as reason:
                failures.append(f"{where} ({reason})")
    if len(failures) > MAX_FAILED * total or not total:
        raise UserError(
            f"{len(failures)} of {total} rows do not parse, more than {MAX_FAILED:.0%} "
            f"({'; '.join(failures[:NAMED]) or 'there are none'})"
        )
    rules = how.get("construct", {}) | {"kind": kind_of(how)}
    if rules["kind"] == "label" and not rules.get("labels"):
        rules["labels"] = labels_of(rows)
    how = {**how, "construct": rules}
    made = construct(shuffled(rows, rng) if rng else rows, how, rng)
    left_out = Counter(item for item in made if isinstance(item, str))
    repeated = left_out.pop(REPEATED, 0)
    found = [item for item in made if isinstance(item, Item)]
    items = deduplicate(found)
    duplicates = repeated + len(found) - len(items)
    if rng and how.get("balance") and items:
        items = balance(items, rng, how.get("per_class"))
    groups = in_order(items) if rng else [[item] for item in items]
    return groups, {
        "sources": hashes,
        "construction": words(rules),
        "rows_read": total,
        "rows_failed": len(failures),
        "rows_failed_examples": failures[:NAMED],
        "rows_left_out": dict(left_out),
        "duplicates_removed": duplicates,
        "documents": len(items),
        "documents_by_class": _classes(items, how),
    }


def _classes(items: Sequence[Item], how: Mapping[str, Any]) -> dict[str, int] | None:
    labels = list(how.get("construct", {}).get("labels", ()))
    counts = Counter(item.stratum for item in items)
    if missing := [label for index, label in enumerate(labels) if not counts[index]]:
        raise UserError(f"no document has the class {', '.join(missing)}; see labels")
    return {label: counts[index] for index, label in enumerate(labels)} or None


def _check_kind(items: Sequence[Item], what: str) -> None:
    """Raise `UserError` where a split is empty, or has free answers and choices."""
    if not items:
        raise UserError(f"{what}: no document is left; the domain needs more documents")
    if what != "train":  # what is learned may be answers alone, whatever is asked
        all_free([item.document for item in items], what)


def _summary(items: Sequence[Item]) -> dict[str, Any]:
    """Size of a split, how often each answer index is right, and its mean length."""
    documents = [item.document for item in items]
    answers = Counter(document.answer for document in documents)
    length = sum(len("".join((document.prompt, *document.choices))) for document in documents)
    return {
        "documents": len(items),
        "right_answers": {str(index): answers[index] for index in sorted(answers)},
        "mean_characters": round(length / len(items), 1),
    }
