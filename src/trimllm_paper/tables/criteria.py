"""Rows that compare criteria: every domain's smallest checkpoint that keeps enough (C_a).

A row of Tables 3 and 6 shows, for each domain, the smallest checkpoint of a chain that keeps more
than 90% of Full-FT's accuracy (Algorithm 1), and how many of the units those keep: *Final Mem*.
Where none does, the checkpoint before the first drop stands there, with all units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.names import PAPER_CRITERIA
from trimllm_paper import published
from trimllm_paper.measured import TRIM, Accuracy, Results
from trimllm_paper.published import PublishedTable
from trimllm_paper.tables.accuracy_cell import accuracy_cell
from trimllm_paper.tables.columns import (
    COMPARED,
    FINAL_MEM,
    TRUE_BYTES,
    Domain,
    columns_of,
    size_cell,
    stand_in_header,
    task_names,
)
from trimllm_paper.tables.table import Block, Cell, Column, Row
from trimllm_paper.verdict import KEEPS, Anchors

LABELS = {
    "calibration": "Calibration scan",
    "activation_norm": "Activation norm",
    "both": "Both",
    "likelihood": "Likelihood",
    "authors": "Both, as the authors' code",
}
OURS = "ours, not the paper's"
COMPAT = (
    "compat: authors (calibrated on test documents, ties to the MLP, residual fault in the scan)"
)
ANCHORS = published.table("table3")
NOTE = (
    "Accuracy and Final Mem of a criterion: in each domain the chain's smallest checkpoint that "
    f"keeps more than {100 * KEEPS:.0f}% of Full-FT's accuracy (Algorithm 1, C_a), chosen by the "
    "accuracy that is reported, as in the paper; where none does, the one before the first drop"
)


def section_of(criterion: str) -> str | None:
    """The heading under which a criterion stands that the paper does not have."""
    if criterion in PAPER_CRITERIA:
        return None
    return COMPAT if criterion == "authors" else OURS


def _drops(recipe: str) -> int:
    """Units that a trimmed recipe has dropped."""
    match = TRIM.fullmatch(recipe)
    return int(match["dropped"]) if match else 0


@dataclass(frozen=True)
class Model:
    """One model among the results, and what the paper prints beside it."""

    name: str
    label: str
    published: str | None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Model:
        """From `name`, `label` and `published`."""
        return cls(entry["name"], entry.get("label") or entry["name"], entry.get("published"))

    @property
    def own(self) -> bool:
        """Whether it is the model of the paper's table."""
        return self.published == COMPARED


class Criteria:
    """Builds the rows of Tables 3 and 6."""

    def __init__(
        self, results: Results, paper: PublishedTable, domains: Sequence[Domain], drops: int
    ) -> None:
        self.results, self.paper, self.domains, self.drops = results, paper, domains, drops
        self.columns: tuple[Column, ...] = (*columns_of(results, domains), FINAL_MEM, TRUE_BYTES)

    def header(self, models: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """Lines about stand-ins."""
        return stand_in_header(models, self.columns)

    def block(self, model: Model, rows: Sequence[Row]) -> Block:
        """A model's rows, beside the paper's."""
        named = published.LABELS[COMPARED]
        return Block(model.name, model.label, tuple(rows), named, is_paper=model.own)

    def accuracy(self, model: Model, domain: Domain, recipe: str | None) -> Accuracy | None:
        """A recipe on its own domain's tests."""
        if recipe is None:
            return None
        return self.results.accuracy(model.name, domain["name"], recipe, task_names(domain))

    def smallest(self, model: Model, domain: Domain, criterion: str, ratio: float) -> str | None:
        """Recipe of the smallest checkpoint that keeps enough, else of the largest, or None."""
        from trimllm.select import by_accuracy

        chain = self.results.chain(
            model.name, domain["name"], criterion, ratio=ratio, drops_per_epoch=self.drops
        )
        found = [(recipe, self.accuracy(model, domain, recipe)) for recipe in chain]
        points = [
            {"drops": _drops(recipe), "accuracy": accuracy.percent, "recipe": recipe}
            for recipe, accuracy in found
            if accuracy
        ]
        full = self.accuracy(model, domain, "full_ft")
        if not points or full is None:
            return None
        try:
            return by_accuracy(points, full.percent, KEEPS)["recipe"]
        except UserError:
            # Only the checkpoint before the first drop says that nothing could be dropped.
            return points[0]["recipe"] if points[0]["drops"] == 0 else None

    def row(
        self,
        model: Model,
        key: str,
        label: str,
        recipes: Mapping[str, str | None],
        *,
        section: str | None = None,
        at: tuple[str, str] | None = None,
    ) -> Row:
        """One row: `recipes` by domain, `at` = (block, row) of the paper's table if it has it."""
        block, printed_row = at or ("", "")
        cells: dict[str, Cell] = {}
        found: list[Accuracy] = []
        for domain, column in zip(self.domains, self.columns, strict=False):
            name = domain["name"]
            accuracy = self.accuracy(model, domain, recipes.get(name))
            found += [accuracy] if accuracy else []
            printed = self.paper.value(printed_row, name, block)
            anchors = Anchors(
                self.accuracy(model, domain, "pretrained"),
                self.accuracy(model, domain, "full_ft"),
                ANCHORS.value("pretrained", name),
                ANCHORS.value("full_ft", name),
            )
            own = model.own and not column.stand_in
            cells[name] = accuracy_cell(accuracy, printed_row or key, printed, anchors, own=own)
        printed = self.paper.value(printed_row, "final_mem", block)
        cells["final_mem"] = size_cell(found, "kept_percent", printed, model.own)
        cells["true_bytes"] = size_cell(found, "bytes_percent", None, model.own)
        return Row(key, label, cells, section)

    def chosen_row(
        self, model: Model, criterion: str, ratio: float, *, key: str, block: str = ""
    ) -> Row:
        """The row of a criterion at its smallest checkpoints."""
        recipes = {d["name"]: self.smallest(model, d, criterion, ratio) for d in self.domains}
        at = (block, criterion) if criterion in PAPER_CRITERIA else None
        row = self.row(model, key, LABELS[criterion], recipes, section=section_of(criterion), at=at)
        return self._told(model, row)

    def _told(self, model: Model, row: Row) -> Row:
        """The same row, saying where no checkpoint keeps enough."""
        cells = dict(row.cells)
        for domain in self.domains:
            cell = cells[domain["name"]]
            full = self.accuracy(model, domain, "full_ft")
            if cell.measured is None or full is None or cell.measured > KEEPS * full.percent:
                continue
            why = f"no checkpoint keeps more than {100 * KEEPS:.0f}% of Full-FT"
            cells[domain["name"]] = replace(cell, why="; ".join([why, *filter(None, [cell.why])]))
        return replace(row, cells=cells)
