"""What a scan reads, and its result: one record a sublayer. As a JSON object, and back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from trimllm.data import Document
from trimllm.sublayers import Unit


def sample_of(
    documents: Sequence[Document], count: int | None, seed: int, number: int
) -> list[Document]:
    """The calibration documents of scan `number` of a run: `count` drawn from a pool, anew for
    every scan (section 3.3). None takes all, as does a pool that has no more."""
    if count is None or count >= len(documents):
        return list(documents)
    return random.Random(f"{seed} scan {number}").sample(list(documents), count)


@dataclass(frozen=True)
class Scores:
    """Scores without a sublayer, or with nothing dropped; None for a sublayer that is no candidate.

    Attributes:
        accuracy: % of the documents answered right (a_i of Eq. 3); None for free answers.
        likelihood: mean over documents, in nats: with choices the log-softmax over their summed
            log-likelihoods at the right one; with free answers the mean log-likelihood of the
            answer's tokens, its end included.
        norm: mean over documents of the Frobenius norm of the sublayer's output, over the tokens of
            the packed row (Eq. 4); None with nothing dropped.
    """

    # float | None each; Any spares criteria an assertion for every value.
    accuracy: Any = None
    likelihood: Any = None
    norm: Any = None


@dataclass
class Scan:
    """Scores of every sublayer, in forward order."""

    documents: int  # number of calibration documents
    sublayers: dict[Unit, Scores]
    baseline: Scores = Scores()  # with nothing dropped
    free: bool = False  # whether the documents have free answers
    documents_sha256: str = ""  # of the documents' hashes, in order
    seconds: float = 0.0  # wall-clock time
    tokens: int = 0  # packed tokens of all documents

    @property
    def scored(self) -> list[Unit]:
        """The candidates."""
        return [unit for unit, one in self.sublayers.items() if one.likelihood is not None]


def to_record(scan: Scan) -> dict[str, Any]:
    """A scan as a JSON object."""
    likelihood, table = _likelihood(scan.free), []
    for unit, one in scan.sublayers.items():
        row: dict[str, Any] = {"block": unit.block, "kind": unit.kind, "norm": one.norm}
        if one.accuracy is not None:
            row["correct"] = round(one.accuracy * scan.documents / 100)
            row["accuracy"] = one.accuracy
        if one.likelihood is not None:
            row[likelihood] = one.likelihood
        table.append(row)
    return {
        "documents": scan.documents,
        "documents_sha256": scan.documents_sha256,
        "tokens": scan.tokens,
        "baseline_accuracy": scan.baseline.accuracy,
        f"baseline_{_likelihood(not scan.free)}": None,
        f"baseline_{likelihood}": scan.baseline.likelihood,
        "seconds": scan.seconds,
        "units": table,
    }


def from_record(record: dict[str, Any]) -> Scan:
    """The scan of a record."""
    free = record.get("baseline_answer_likelihood") is not None
    likelihood = _likelihood(free)
    return Scan(
        sublayers={
            Unit(row["block"], row["kind"]): Scores(
                row.get("accuracy"), row.get(likelihood), row["norm"]
            )
            for row in record["units"]
        },
        baseline=Scores(record["baseline_accuracy"], record[f"baseline_{likelihood}"]),
        free=free,
        documents_sha256=record.get("documents_sha256", ""),
        **{name: record[name] for name in ("documents", "seconds", "tokens")},
    )


def _likelihood(free: bool) -> str:
    return "answer_likelihood" if free else "likelihood"
