"""A set of a domain: its rows read, made into documents, grouped by question and put in order."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from trimllm.base.errors import UserError
from trimllm.data.construct import KINDS, Construction, Item, construct, kind_of, labels_of, words
from trimllm.data.document import Document
from trimllm.data.rows import MAX_FAILED, Row, RowError, parse_row
from trimllm.data.sources import read_source
from trimllm.data.split import DATA_SEED, balance, deduplicate, in_order, shuffled

NAMED = 3
"""Rows that fail to parse and are named."""
REPEATED = "asked before"
"""Why a `Construction` leaves out a row whose prompt another one has: a duplicate."""


@contextmanager
def within(place: str) -> Iterator[None]:
    """Say of a `UserError` where it is raised."""
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

    def check(self, splits: Mapping[str, Sequence[Item]], name: str, needed: int) -> None:
        """Raise `UserError` where a split that was taken of this set is too small."""
        if (count := len(splits[name])) < needed:
            rows, files = self.report["rows_read"], ", ".join(self.report["sources"])
            reasons = self.report["rows_left_out"].items()
            left_out = "".join(f", {rows} left out as {reason}" for reason, rows in reasons)
            raise UserError(
                f"set {self.name}: {len(self.items)} documents (of {rows} rows in {files}"
                f"{left_out}) are too few: {count} are left for {name}, which needs {needed}; give "
                "more rows, or test on less (`documents`)"
            )


def read_task(spec: Mapping[str, Any]) -> Pool:
    """The documents of an lm-eval task in their own order, as `--limit` takes them."""
    name = f"lm-eval {spec['task']}"
    with within(f"sets.{name}"):
        rows, report = _read_rows({"from": [spec]})
        items = construct(rows, {"construct": {"kind": "own"}}, None)
        kept = deduplicate([item for item in items if isinstance(item, Item)])
        report |= {"construction": KINDS["own"], "rows_left_out": {}, "documents": len(kept)}
        return Pool(name, [[one] for one in kept], report)


def read_set(name: str, spec: Mapping[str, Any], constructions: Mapping[str, Construction]) -> Pool:
    """The documents of a set of the domain's YAML.

    Args:
        constructions: further ones than the library's, by their kind.
    """
    with within(f"sets.{name}"):
        rows, report = _read_rows(spec)
        rules = dict(spec.get("construct", {})) | {"kind": kind_of(spec)}
        if rules["kind"] not in (known := {**KINDS, **constructions}):
            raise UserError(f"no construction {rules['kind']!r} (there are: {', '.join(known)})")
        if rules["kind"] == "label" and not rules.get("labels"):
            rules["labels"] = labels_of([row for row in rows if isinstance(row, Row)])
        spec, rng = {**spec, "construct": rules}, random.Random(f"{DATA_SEED}:{name}")
        ordered: Sequence[Any] = shuffled(rows, rng)
        if own := constructions.get(rules["kind"]):
            ordered = own.apply(ordered, spec, rng)
        results = construct(ordered, spec, rng)
        left_out = Counter(item for item in results if isinstance(item, str))
        items = deduplicate([item for item in results if isinstance(item, Item)])
        duplicates = len(results) - len(items) - left_out.total() + left_out.pop(REPEATED, 0)
        if spec.get("balance") and items:
            items = balance(items, rng, spec.get("per_class"))
        labels, counts = list(rules.get("labels", ())), Counter(item.stratum for item in items)
        if missing := [label for index, label in enumerate(labels) if not counts[index]]:
            raise UserError(f"no document has the class {', '.join(missing)}; see labels")
        report |= {
            "construction": own.words if own else words(rules),
            "rows_left_out": dict(left_out),
            "duplicates_removed": duplicates,
            "documents": len(items),
            "documents_by_class": {label: counts[i] for i, label in enumerate(labels)} or None,
        }
        return Pool(name, in_order(items), report)


def _read_rows(spec: Mapping[str, Any]) -> tuple[list[Row | Document], dict[str, Any]]:
    """The rows of a set that parse, and what its report says of all."""
    rows: list[Row | Document] = []
    failures: list[str] = []
    hashes: dict[str, str] = {}
    total = 0
    for source in spec["from"]:
        content = read_source(source)
        hashes |= content.sha256
        total += len(content.rows)
        for where, row in content.rows:
            try:
                if isinstance(row, RowError):
                    raise row
                if not isinstance(row, Document):
                    row = replace(parse_row(row, {**spec, **source}), where=where)
                rows.append(row)
            except RowError as reason:
                failures.append(f"{where} ({reason})")
    if len(failures) > MAX_FAILED * total or not total:
        raise UserError(
            f"{len(failures)} of {total} rows do not parse, more than {MAX_FAILED:.0%} "
            f"({'; '.join(failures[:NAMED]) or 'there are none'})"
        )
    counts = {"rows_read": total, "rows_failed": len(failures)}
    return rows, {"sources": hashes, **counts, "rows_failed_examples": failures[:NAMED]}
