"""A set of a domain: its rows read, made into documents, grouped by question and put in order."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from trimllm.base.errors import UserError
from trimllm.data.construct import KINDS, Construction, Item, construct, kind_of, labels_of
from trimllm.data.document import Document, bare
from trimllm.data.rows import MAX_FAILED, Row, RowError, parse_row
from trimllm.data.sources import read_source

T = TypeVar("T")
DATA_SEED = 0
"""Seed by which sets are put in order, tests and held-back documents taken, choices drawn."""
EXAMPLES = 3
"""Rows that an error or a report names."""
REPEATED = "asked before"
"""Why a `Construction` leaves out a row with the prompt of another: it is a duplicate."""


@contextmanager
def within(place: str) -> Iterator[None]:
    """Put a place in front of a `UserError`."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{place}: {error}") from error


@dataclass(frozen=True, eq=False)
class Pool:
    """All documents of one set, grouped and in the order in which splits take them."""

    name: str
    groups: list[list[Item]]
    report: dict[str, Any]

    @property
    def items(self) -> list[Item]:
        """All documents."""
        return [item for group in self.groups for item in group]

    def check(self, split: str, count: int, needed: int) -> None:
        """Raise `UserError` if a split that was taken from this set is too small."""
        if count < needed:
            rows, files = self.report["rows_read"], ", ".join(self.report["sources"])
            reasons = self.report["rows_left_out"].items()
            left_out = "".join(f", {number} left out as {reason}" for reason, number in reasons)
            raise UserError(
                f"set {self.name}: {len(self.items)} documents (of {rows} rows in {files}"
                f"{left_out}) are too few: {count} are left for {split}, which needs {needed}; "
                "give more rows, or test on less (`documents`)"
            )


def read_task(spec: Mapping[str, Any]) -> Pool:
    """The documents of an lm-eval task in their own order, as `--limit` takes them."""
    name = f"lm-eval {spec['task']}"
    with within(f"sets.{name}"):
        rows, report = _read_rows({"from": [spec]})
        items = [Item(row, bare(row.prompt)) for row in rows if isinstance(row, Document)]
        unique = deduplicate(items)
        return Pool(name, [[item] for item in unique], report | {"documents": len(unique)})


def read_set(name: str, spec: Mapping[str, Any], constructions: Mapping[str, Construction]) -> Pool:
    """The documents of a set of the domain's YAML.

    Args:
        constructions: others than the library's, by kind.
    """
    with within(f"sets.{name}"):
        rows, report = _read_rows(spec)
        rules = dict(spec.get("construct", {})) | {"kind": kind_of(spec)}
        if rules["kind"] not in (known := (*KINDS, *constructions)):
            raise UserError(f"no construction {rules['kind']!r} (there are: {', '.join(known)})")
        if rules["kind"] == "label" and not rules.get("labels"):
            rules["labels"] = labels_of([row for row in rows if isinstance(row, Row)])
        spec, rng = {**spec, "construct": rules}, random.Random(f"{DATA_SEED}:{name}")
        ordered: Sequence[Any] = shuffled(rows, rng)
        if apply := constructions.get(rules["kind"]):
            ordered = apply(ordered, spec, rng)
        results = construct(ordered, spec, rng)
        left_out = Counter(item for item in results if isinstance(item, str))
        items = deduplicate([item for item in results if isinstance(item, Item)])
        duplicates = len(results) - len(items) - left_out.total() + left_out.pop(REPEATED, 0)
        classes = {item.stratum for item in items}
        labels = rules.get("labels", ())
        if missing := [label for index, label in enumerate(labels) if index not in classes]:
            raise UserError(f"no document has the class {', '.join(missing)}; see labels")
        report |= {"rows_left_out": dict(left_out), "duplicates_removed": duplicates}
        return Pool(name, in_order(items), report | {"documents": len(items)})


def _read_rows(spec: Mapping[str, Any]) -> tuple[list[Row | Document], dict[str, Any]]:
    """The rows of a set that parse, and the report on all of them."""
    rows: list[Row | Document] = []
    failures: list[str] = []
    hashes: dict[str, str] = {}
    for source in spec["from"]:
        content = read_source(source)
        hashes |= content.sha256
        for where, row in content.rows:
            try:
                if isinstance(row, RowError):
                    raise row
                if not isinstance(row, Document):
                    row = replace(parse_row(row, {**spec, **source}), where=where)
                rows.append(row)
            except RowError as reason:
                failures.append(f"{where} ({reason})")
    total = len(rows) + len(failures)
    if len(failures) > MAX_FAILED * total or not total:
        raise UserError(
            f"{len(failures)} of {total} rows do not parse, more than {MAX_FAILED:.0%} "
            f"({'; '.join(failures[:EXAMPLES]) or 'there are none'})"
        )
    return rows, {
        "sources": hashes,
        "rows_read": total,
        "rows_failed": len(failures),
        "rows_failed_examples": failures[:EXAMPLES],
        "rows_left_out": {},
    }


# ---- order ---------------------------------------------------------------------------------------


def _grouped(members: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Members with equal keys together, in the order of the first ones."""
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for member in members:
        groups[key(member)].append(member)
    return list(groups.values())


def shuffled(rows: Sequence[Row | Document], rng: random.Random) -> list[Row | Document]:
    """Rows in drawn order, those of one question side by side."""
    groups = _grouped(
        rows, lambda row: bare(row.prompt if isinstance(row, Document) else row.question)
    )
    rng.shuffle(groups)
    return [row for group in groups for row in group]


def deduplicate(items: Sequence[Item]) -> list[Item]:
    """The first document of each content."""
    return [same[0] for same in _grouped(items, Item.content)]


def in_order(items: Sequence[Item]) -> list[list[Item]]:
    """Groups in the order of their first items, mixed so that every prefix holds the classes in
    equal shares: the j-th of n groups of a class goes to the place (j + 1/2) / n of the whole."""
    groups = _grouped(items, lambda item: item.group)
    placed = [
        ((number + 0.5) / len(members), group)
        for members in _grouped(groups, lambda group: group[0].stratum)
        for number, group in enumerate(members)
    ]
    return [group for _, group in sorted(placed, key=lambda entry: entry[0])]
