"""Fills a table: one long frame, a row a cell, with the measured and the printed number.

For each block (`blocks.py`), row and column of the specification (`tables.py`): find the checkpoint
or measurement (`derive.py`), set the paper's number beside it (`published.py`), judge it
(`verdict.py`). What was not measured is a `not run` cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import fmean
from typing import Any

import pandas as pd

from trimllm_paper import cells_speed, derive, published, table_notes, verdict
from trimllm_paper.blocks import NO_VERDICT, Block, Cell, Line, blocks_of
from trimllm_paper.context import Context
from trimllm_paper.derive import Accuracy
from trimllm_paper.frames import Frame
from trimllm_paper.published import Value
from trimllm_paper.recipe import FULL_FT, PRETRAINED, Recipe
from trimllm_paper.render import Rendered
from trimllm_paper.specification import REFERENCE_KEPT, Column, Row, Table
from trimllm_paper.tables import TABLES
from trimllm_paper.verdict import KEEPS, NONE, NOT_RUN, Relation, Verdict


def build(key: str, frame: Frame, context: Context) -> Rendered:
    """A table; `frame` holds the results that it shows, and no others."""
    return _Builder(TABLES[key](context), frame, context).build()


class _Builder:
    """One method a kind of column: its cell in a line, or None for what was not run."""

    def __init__(self, spec: Table, frame: Frame, context: Context) -> None:
        self.spec, self.frame, self.context = spec, frame, context
        self.timings = spec.timings(frame)
        self.domains = [c for c in spec.columns if c.shows == "accuracy"]
        self.stand_ins = {c.key: table_notes.stand_in(c, frame) for c in self.domains}

    def build(self) -> Rendered:
        spec, frame, context = self.spec, self.frame, self.context
        cells = pd.DataFrame([*self._cells()], dtype=object)
        cells = cells.astype(dict.fromkeys(("value", "low", "high", "deviation"), float))
        known = cells[cells.value.notna() | cells.printed.notna()].column.unique()
        shown = [c for c in spec.columns if c.shows != "speed" or c.key in known]
        columns = [table_notes.labelled(c, frame, context) for c in shown]
        cells = cells[cells.column.isin([c.key for c in columns])]
        cells["stand_in"] = cells.column.map(self.stand_ins).where(cells.value.notna())
        header = [*table_notes.header(spec, frame, context, columns)]
        notes = [*table_notes.notes(spec, frame, context, cells, columns)]
        return Rendered(spec.key, spec.title, columns, cells, header, notes)

    # ---- lines ---------------------------------------------------------------------------------

    def _cells(self) -> Iterator[dict[str, Any]]:
        """All cells as rows of the long frame. In Table 1 other chains and patterns than a row's
        first have rows below."""
        for block in blocks_of(self.spec, self.timings):
            others: list[tuple[Row, Any]] = []
            for row in self.spec.rows:
                timings = cells_speed.timings_of(self.timings, block, row) or {"": None}
                name, *more = timings
                yield from self._line(block, row, timings[name])
                for other in () if self.domains else more:
                    section = f"trimmed by {timings[other].content.get('pattern') or other}"
                    shown = replace(row, key=f"{row.key}_{other}", section=section, paper="")
                    others.append((shown, timings[other]))
            for row, timing in sorted(others, key=lambda one: one[0].section):
                yield from self._line(block, row, timing)

    def _line(self, block: Block, row: Row, timing: Any) -> Iterator[dict[str, Any]]:
        """Cells of a row; of the paper's blocks those that it prints."""
        printed = {c.key: self._printed(block, row, c) for c in self.spec.columns}
        if not block.name and not any(value is not None for value in printed.values()):
            return
        accuracies = {c.key: self._measured(block, row, c) for c in self.domains}
        line = Line(block, row, timing, accuracies, printed)
        named = self.context.named if block.name else str
        label = (
            row.label if timing is None or timing.in_turn else f"{row.label}: {cells_speed.APART}"
        )
        for column in self.spec.columns:
            cell = getattr(self, f"_{column.shows}")(line, column) if block.name else None
            content = dict(vars(cell or Cell(judged=(NOT_RUN, ""))))
            result, why = content.pop("judged")
            yield {
                **{"table": self.spec.key, "block": block.key, "block_label": block.label},
                **{"published_as": block.published_as, "is_paper": block.is_paper},
                **{"row": row.key, "row_label": named(label), "section": named(row.section)},
                "column": column.key,
                **content,
                **{"printed": printed[column.key], "verdict": result, "why": named(why)},
            }

    def _printed(self, block: Block, row: Row, column: Column, table: str = "") -> Value:
        """The paper's number, or what follows from its numbers; None where it has none, and for
        the accuracy of random weights."""
        paper, name = published.table(table or self.spec.key), column.printed or column.key
        of_row, _, key = (row.paper or row.key).rpartition("/")
        random = column.shows == "accuracy" and block.name and not block.model
        if random or name not in paper.columns or column.under == key:
            return None
        place = next((b for b in (of_row, block.paper) if b in paper.blocks), "")
        value = paper.value(key, name, place)
        if value is None or isinstance(value, str):
            return value
        if column.under:
            return paper.number(column.under, name, place) / value
        over = paper.number(column.over, name, place) if column.over else 1
        return column.times * value / over

    # ---- accuracy ------------------------------------------------------------------------------

    def _evaluated(self, block: Block, column: Column, recipe: str, on: str = "") -> Any:
        """Accuracy on the column's tests of a recipe that was trained `on` a domain, if not its."""
        place = (self.frame, block.name, on or column.tested)
        return derive.accuracy(*place, recipe, column.tasks)

    def _measured(self, block: Block, row: Row, column: Column) -> Accuracy | str | None:
        """Accuracy of a row's recipe, or of the first of its chains that was measured."""
        if block.model is None:
            return None
        trained, recipe = row.trained or column.tested, row.recipe or None
        for name in row.names:
            if row.smallest:
                recipe = recipe or self._smallest(block, column, name)
            else:
                recipe = recipe or derive.nearest(self.frame, block.name, trained, name, row.kept)
        if recipe is None or recipe == NONE:
            return recipe
        if row.compressor:
            recipe = str(Recipe.parse(recipe).compressed(row.compressor))
        return self._evaluated(block, column, recipe, trained)

    def _smallest(self, block: Block, column: Column, name: str) -> str | None:
        """The chain's smallest trimmed checkpoint that keeps enough on held-back documents
        (Algorithm 1, C_a)."""
        place = (block.name, column.tested, name)
        evaluated = derive.checkpoints(self.frame, *place, column.tasks)
        chain = {one.tasks[0].dropped: one for one in evaluated}
        shares = derive.held_back_shares(self.frame, *place)
        enough = [dropped for dropped in chain if dropped and shares.get(dropped, 0) > KEEPS]
        if enough:
            return chain[max(enough)].tasks[0].recipe
        return NONE if 0 in chain and 0 in shares else None

    def _accuracy(self, line: Line, column: Column) -> Cell | None:
        accuracy = line.accuracies[column.key]
        if line.block.model is None:
            return Cell()  # random weights answer nothing
        if accuracy == NONE:
            return Cell(judged=(NONE, f"none keeps more than {100 * KEEPS:.0f}% of Full-FT"))
        if not isinstance(accuracy, Accuracy):
            return None
        base, full = (self._evaluated(line.block, column, one) for one in (PRETRAINED, FULL_FT))
        return Cell(
            *(accuracy.percent, *accuracy.ci95, accuracy.deviation, accuracy.documents),
            judged=self._judged(line, column, accuracy, base, full),
            sources=accuracy.sources,
            details=accuracy.facts(base, full),
        )

    def _judged(
        self,
        line: Line,
        column: Column,
        accuracy: Accuracy,
        base: Accuracy | None,
        full: Accuracy | None,
    ) -> Verdict:
        """Verdict on an accuracy that the paper prints. What a model specialized on another domain
        loses here is no specialization if it has lost its own domain, too."""
        row, printed = line.row, line.printed[column.key]
        if printed is None:
            return NO_VERDICT
        number, shape = float(printed), list[Relation]()
        before, whole = (
            float(self._printed(line.block, Row(one, ""), column, self.spec.baselines) or 0)
            for one in (PRETRAINED, FULL_FT)
        )
        is_baseline = row.recipe in (PRETRAINED, FULL_FT)
        if row.recipe != PRETRAINED:
            shape = verdict.gain(accuracy, base, number, before)
        if not self.spec.trained and not is_baseline:
            shape += verdict.keeps(accuracy, full, number, whole)
        elsewhere = row.trained not in ("", column.key)
        fallen = elsewhere and number < before and shape and shape[0].holds
        if fallen and verdict.lost_at_home(accuracy, self.frame, self.context.domains):
            lost = "it has lost its own domain: what it loses elsewhere is no specialization"
            shape = [Relation(None, f"{lost}; {shape[0].text}")]
        own = self._own(line.block) and not self.stand_ins[column.key]
        # A model that was specialized on another domain is not asked to know this one.
        preserves = None if elsewhere or is_baseline else full
        return verdict.judge(accuracy, number, shape, own=own, preserves=preserves)

    def _own(self, block: Block) -> bool:
        """Whether it is the paper's model, fully fine-tuned."""
        return block.own_model and not self.context.lora

    def _difference(self, line: Line, column: Column) -> Cell | None:
        """Points over the first chain at the same kept fraction."""
        first = Row("", "", names=self.context.chains[:1], kept=line.row.kept)
        if line.row.names in ((), first.names):
            return Cell()
        own, other = (self._measured(line.block, row, column) for row in (line.row, first))
        if not isinstance(own, Accuracy) or not isinstance(other, Accuracy):
            return None
        gap = own.minus(other)
        return Cell(gap.points, gap.low, gap.high, sources=(*own.sources, *other.sources))

    def _size(self, line: Line, column: Column) -> Cell | None:
        """Mean, smallest and largest over domains. Judged if it was not asked for: the smallest
        above a bar (the largest over domains), and of compressed models the paper's own."""
        row, size, own = line.row, column.of, self._own(line.block)
        if NONE in line.accuracies.values():
            return Cell(judged=(NONE, ""))
        accuracies = [one for one in line.accuracies.values() if isinstance(one, Accuracy)]
        if not accuracies:
            return None
        compressed, judged = accuracies[0].tasks[0].compressor, NO_VERDICT
        if size == "final":  # the paper counts sublayers, and of compressed models the bytes
            size = "bytes_percent" if compressed else "kept_percent"
        values = [getattr(accuracy, size) for accuracy in accuracies]
        smallest = row.smallest and size == "kept_percent"
        value, printed = (max if smallest else fmean)(values), line.printed[column.key]
        if printed is not None and (row.smallest or (compressed and own)):
            part = smallest and len(accuracies) < len(self.domains)
            judged = verdict.judge_size(value, printed, own=own, part=part)
        sources = tuple(source for accuracy in accuracies for source in accuracy.sources)
        return Cell(value, min(values), max(values), judged=judged, sources=sources)

    # ---- speed and time (`cells_speed.py`) -----------------------------------------------------

    def _speed(self, line: Line, column: Column) -> Cell | None:
        return cells_speed.speed(line, column)

    def _trim_over(self, line: Line, column: Column) -> Cell | None:
        reference = next(row for row in self.spec.rows if row.kept == REFERENCE_KEPT)
        trimmed = cells_speed.timings_of(self.timings, line.block, reference)
        return cells_speed.trim_over(line, column, next(iter(trimmed.values()), None))

    def _time(self, line: Line, column: Column) -> Cell | None:
        return cells_speed.time(line, column, self.frame, self.context)
