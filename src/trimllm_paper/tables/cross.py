"""Tables 4 and 5: what specialized models know of near and of other domains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm.base.names import PAPER_CRITERIA, PAPER_CRITERION
from trimllm_paper import published
from trimllm_paper.measured import Accuracy, Results
from trimllm_paper.tables.accuracy_cell import judged_cell
from trimllm_paper.tables.columns import (
    COMPARED,
    Domain,
    all_columns,
    columns_of,
    paper_notes,
    seed_notes,
    stand_in_header,
    task_names,
)
from trimllm_paper.tables.criteria import LABELS, Model
from trimllm_paper.tables.notes import column_notes, provenance_notes
from trimllm_paper.tables.table import Block, Cell, Row, Table
from trimllm_paper.verdict import NOT_RUN, Relation, gain

SUFFIX = "_specialized"


def build(
    table: str,
    evals: Iterable[str | Path],
    models: Sequence[Mapping[str, Any]],
    domains: Sequence[Domain],
    *,
    criteria: Sequence[str],
    kept_percent: float,
    ratio: float,
    drops_per_epoch: int,
    near: Mapping[str, str] | None = None,
    seed: int | None = None,
) -> Table:
    """Table 4 or 5 from evaluation files.

    A specialized model lies under the domain that it was trained on, whatever it is tested on:
    eval/{model}/{trained}/{recipe}/{task}.json.

    Args:
        table: "table4" or "table5".
        models, domains: as in `table3.build`; `domains` are columns, trained on or not.
        criteria: those that were run; the paper's rows are those of `both`.
        kept_percent: units that the specialized models keep.
        ratio, drops_per_epoch: of the chains.
        near: domain -> the near domain that its model is tested on, too.
    """
    grid = _Grid(table, Results(evals), domains, kept_percent, near or {})
    grid.run = {"ratio": ratio, "drops_per_epoch": drops_per_epoch}
    columns = columns_of(grid.results, grid.columns)
    blocks = [grid.block(model, criteria) for model in map(Model.of, models)]
    return Table(
        key=table,
        title=f"Table {table[5:]}: accuracy (%) of models specialized at {kept_percent:g}% of the "
        f"units on {'near' if table == 'table4' else 'other'} domains",
        columns=columns,
        blocks=tuple(blocks),
        header=stand_in_header(models, columns),
        notes=(
            "A row was trained, calibrated and trimmed on one domain; a column is what it was "
            "tested on. Verdicts ask for the sign of the difference to the pretrained model",
            *paper_notes(table),
            *column_notes(columns, blocks),
            *seed_notes(grid.results),
            *provenance_notes(grid.results.measurements, seed),
        ),
    )


class _Grid:
    """Builds the rows of one table."""

    run: Mapping[str, Any]

    def __init__(
        self,
        table: str,
        results: Results,
        domains: Sequence[Domain],
        kept_percent: float,
        near: Mapping[str, str],
    ) -> None:
        self.paper = published.table(table)
        self.results, self.kept = results, kept_percent
        self.columns = all_columns(self.paper, domains)
        self.trained = [row.removesuffix(SUFFIX) for row in self.paper.rows()[1:]]
        self.near_of = {near_one: domain for domain, near_one in near.items()}

    def block(self, model: Model, criteria: Sequence[str]) -> Block:
        """Pretrained, the paper's criterion, then the others."""
        rows = [self._pretrained(model)]
        ordered = sorted(criteria, key=lambda criterion: criterion != PAPER_CRITERION)
        for criterion in dict.fromkeys([PAPER_CRITERION, *ordered]):
            rows += [self._row(model, trained, criterion) for trained in self.trained]
        named = published.LABELS[COMPARED]
        return Block(model.name, model.label, tuple(rows), named, is_paper=model.own)

    def _accuracy(
        self, model: Model, trained: str, recipe: str | None, tested: Domain
    ) -> Accuracy | None:
        if recipe is None:
            return None
        return self.results.accuracy(model.name, trained, recipe, task_names(tested))

    def _base(self, model: Model, tested: Domain) -> Accuracy | None:
        return self._accuracy(model, tested["name"], "pretrained", tested)

    def _specialized(
        self, model: Model, trained: str, criterion: str, tested: Domain
    ) -> Accuracy | None:
        recipe = self.results.trimmed(model.name, trained, criterion, self.kept, **self.run)
        return self._accuracy(model, trained, recipe, tested)

    def _pretrained(self, model: Model) -> Row:
        """The pretrained model, judged by what specializing on the column's domain gains."""
        cells = {}
        for tested in self.columns:
            name = tested["name"]
            expert = self.near_of.get(name, name)
            printed = self.paper.value("pretrained", name)
            base = self._base(model, tested)
            theirs = self.paper.value(f"{expert}{SUFFIX}", name)
            shape: list[Relation | None] = []
            if theirs is not None and base:
                other = self._specialized(model, expert, PAPER_CRITERION, tested)
                if other is None:
                    shape = [Relation(None, f"the model specialized on {expert} was not run")]
                else:
                    shape = [gain(other, base, theirs, printed)]
            cells[name] = self._cell(model, tested, base, printed, shape)
        return Row("pretrained", "Pretrained", cells)

    def _row(self, model: Model, trained: str, criterion: str) -> Row:
        ours = criterion != PAPER_CRITERION
        key = f"{trained}{SUFFIX}"
        cells = {}
        for tested in self.columns:
            name = tested["name"]
            printed = None if ours else self.paper.value(key, name)
            accuracy = self._specialized(model, trained, criterion, tested)
            base = self._base(model, tested)
            shape = []
            if accuracy and printed is not None:
                shape = [gain(accuracy, base, printed, self.paper.value("pretrained", name))]
            cells[name] = self._cell(model, tested, accuracy, printed, shape)
        label = f"{published.DOMAINS[trained]}-specialized"
        if not ours:
            return Row(key, label, cells)
        whose = "the paper's criterion" if criterion in PAPER_CRITERIA else "not the paper's"
        section = f"ours: criterion {LABELS[criterion].lower()} ({whose})"
        return Row(f"{key}_{criterion}", label, cells, section)

    def _cell(
        self,
        model: Model,
        tested: Domain,
        accuracy: Accuracy | None,
        printed: published.Value,
        shape: Sequence[Relation | None],
    ) -> Cell:
        if accuracy is None:
            return Cell(published=printed, verdict=NOT_RUN)
        own = model.own and not any(task.stand_in for task in accuracy.tasks)
        told = [relation for relation in shape if relation is not None]
        base = self._base(model, tested)
        difference = accuracy.minus(base) if base and base.tasks != accuracy.tasks else None
        details = {
            "recipe": accuracy.tasks[0].recipe,
            "trained_on": accuracy.tasks[0].domain,
            "kept_percent": accuracy.kept_percent,
            "chance": accuracy.chance,
            "minus_pretrained": difference.points if difference else None,
            "minus_pretrained_low": difference.low if difference else None,
            "minus_pretrained_high": difference.high if difference else None,
        }
        return judged_cell(accuracy, printed, told, details, own=own)
