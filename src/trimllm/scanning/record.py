"""A scan as a JSON object, and back."""

from __future__ import annotations

from typing import Any

from trimllm.scanning.onepass import Scan
from trimllm.sublayers import Unit


def to_record(scan: Scan) -> dict[str, Any]:
    """A scan as a JSON object."""
    table = []
    for unit, norm in scan.norm.items():
        row: dict[str, Any] = {"block": unit.block, "kind": unit.kind, "norm": norm}
        if unit in scan.answer_likelihood:
            row["answer_likelihood"] = scan.answer_likelihood[unit]
        elif unit in scan.correct:  # not where a scan had other candidates
            row |= {
                "correct": scan.correct[unit],
                "accuracy": scan.accuracy[unit],
                "likelihood": scan.likelihood[unit],
            }
        table.append(row)
    return {
        "documents": scan.documents,
        "documents_sha256": scan.documents_sha256,
        "tokens": scan.tokens,
        "baseline_accuracy": scan.baseline,
        "baseline_likelihood": scan.baseline_likelihood,
        "baseline_answer_likelihood": scan.baseline_answer_likelihood,
        "operations": scan.operations,
        "seconds": scan.seconds,
        "units": table,
    }


def from_record(record: dict[str, Any]) -> Scan:
    """The scan that a record was made of."""
    rows = {Unit(row["block"], row["kind"]): row for row in record["units"]}
    scored = {unit: row for unit, row in rows.items() if "correct" in row}
    key = "answer_likelihood"
    return Scan(
        documents=record["documents"],
        documents_sha256=record.get("documents_sha256", ""),
        baseline=record["baseline_accuracy"],
        baseline_likelihood=record["baseline_likelihood"],
        baseline_answer_likelihood=record.get(f"baseline_{key}"),
        correct={unit: row["correct"] for unit, row in scored.items()},
        likelihood={unit: row["likelihood"] for unit, row in scored.items()},
        answer_likelihood={unit: row[key] for unit, row in rows.items() if key in row},
        norm={unit: row["norm"] for unit, row in rows.items()},
        seconds=record["seconds"],
        tokens=record["tokens"],
        operations=record["operations"],
    )
