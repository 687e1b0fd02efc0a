"""The cells of a row: accuracy, size, throughput, time of training, each beside the paper's number.

Numbers come from frames (`derive.py`), what the paper prints from `published.py`, and what the one
says of the other from `verdict.py`. What was not measured is a `not run` cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from trimllm_paper import derive, published, timed, verdict
from trimllm_paper.context import Context, Model
from trimllm_paper.derive import Accuracy
from trimllm_paper.details import of_accuracy
from trimllm_paper.frames import Frame, rows, where
from trimllm_paper.layout import Column, Layout, Row
from trimllm_paper.published import Value
from trimllm_paper.recipe import FULL, FULL_FT, PRETRAINED, Recipe
from trimllm_paper.render import Block, Cell, Line
from trimllm_paper.verdict import KEEPS, NOT_RUN, Relation

Found = dict[str, Accuracy | None]
"""Accuracies by column; None for what was not run."""


@dataclass(frozen=True)
class Subject(Block):
    """A block and what it is about: a model, on a machine where it was timed.

    `known` is the model if it is configured, `compared` the paper's block beside it. `own`: whether
    it is the paper's model; `own_speed`: whether its shape and the machine are.
    """

    name: str = ""
    compared: str = ""
    own: bool = False
    known: Model | None = None
    hardware: str | None = None
    own_speed: bool = False


class Cells:
    """Makes the cells of one table."""

    def __init__(
        self, form: Layout, frame: Frame, context: Context, lines: list[Row], columns: list[Column]
    ) -> None:
        self.form, self.frame, self.context = form, frame, context
        self.rows, self.columns = lines, columns
        self.paper_keys = {entry["row"]: key for key, entry in form.paper_rows.items()}

    def line(self, subject: Subject, row: Row, timing: Any) -> Line:
        """A row of a subject; `timing` is its measurement of throughput, if any."""
        block, _, key = row.key.rpartition("/")
        key, block = self.paper_keys.get(key, key), block or subject.compared
        found = {c.key: self._accuracy(subject, row, c) for c in self.columns if c.domain}
        printed = {c.key: self.printed(key, block, c) for c in self.columns}
        cells = {}
        for column in self.columns:
            value = printed[column.key]
            cell: Cell | None
            if column.domain and subject.known is None:
                cell = Cell()  # random weights answer nothing
            elif column.domain:
                cell = self._accuracy_cell(subject, row, column, found[column.key], value)
            elif column.minus:
                cell = self._minus_cell(subject, row, column.minus)
            elif column.size:
                measured = [accuracy for accuracy in found.values() if accuracy]
                whole = len(measured) == len(found)
                cell = _size_cell(column.size, measured, value, row, own=subject.own, whole=whole)
            elif column.speed == "trim_over":
                cell = self._over_cell(subject, timing, value)
            elif column.speed:
                of_paper = [printed[c.key] for c in self.columns if c.speed == "speedup"]
                cell = _speed_cell(subject, column.speed, timing, value, *of_paper)
            else:
                of_paper = [printed[c.key] for c in self.columns if c.share == column.epochs]
                cell = self._time_cell(subject, row, column, value, *of_paper)
            # What there is no measurement of has the paper's number alone.
            cells[column.key] = cell or Cell(published=value, verdict=NOT_RUN)
        told = (row.section, timing.how) if row.format and timing is not None else (row.section,)
        beside: list[str] = []
        if timing is not None and not row.format:
            beside = timed.marks(timing)
        title = ": ".join(filter(None, [row.label, ", ".join(beside)]))
        label, section = map(self.context.named, (title, ": ".join(filter(None, told))))
        return Line(row.key, label, cells, section or None)

    def printed(
        self, row: str, block: str, column: Column, paper: published.PublishedTable | None = None
    ) -> Value:
        """The paper's number, or what follows from its numbers; None where it has none."""
        paper, name = paper or self.form.paper, column.printed or column.key
        if name not in paper.columns or column.under == row:
            return None
        block = block if block in paper.blocks else ""
        value = paper.value(row, name, block)
        if value is None or isinstance(value, str):
            return value
        if column.under:
            return paper.number(column.under, name, block) / value
        return column.times * value / (paper.number(column.over, name, block) if column.over else 1)

    # ---- accuracy ------------------------------------------------------------------------------

    def _of(
        self, subject: Subject, recipe: str | None, column: Column, trained: str | None = None
    ) -> Accuracy | None:
        """A recipe on the tests of a column, trained on its domain or on another."""
        if recipe is None or subject.known is None:
            return None
        place = (self.frame, subject.name, trained or column.key)
        return derive.accuracy(*place, recipe, column.domain.tasks if column.domain else ())

    def _accuracy(self, subject: Subject, row: Row, column: Column) -> Accuracy | None:
        """Of the row's recipe, or of the first of its chains that was measured."""
        recipe = row.recipe
        for name in row.names if recipe is None else ():
            if row.smallest:
                found = self._smallest(subject, column, name)
            else:
                place = (self.frame, subject.name, row.trained or column.key)
                found = derive.nearest(*place, name, row.kept or 0.0)
            if found:
                recipe = str(Recipe.parse(found).compressed(row.compressor))
                break
        return self._of(subject, recipe, column, row.trained)

    def _smallest(self, subject: Subject, column: Column, name: str) -> str | None:
        """The chain's smallest checkpoint that keeps enough (Algorithm 1, C_a).

        Where none does, the one before the first drop, which alone says that nothing can go.
        """
        full = self._of(subject, FULL_FT, column)
        if full is None:
            return None
        place = (self.frame, subject.name, column.key)
        chain = derive.checkpoints(*place, name, column.domain.tasks if column.domain else ())
        enough = [one for _, one in chain if one.percent > KEEPS * full.percent]
        untrimmed = [one for dropped, one in chain if dropped == 0]
        return next((one.tasks[0].recipe for one in (*enough[::-1], *untrimmed)), None)

    def _accuracy_cell(
        self, subject: Subject, row: Row, column: Column, found: Accuracy | None, printed: Value
    ) -> Cell | None:
        if found is None:
            return None
        base, full = (self._of(subject, recipe, column) for recipe in (PRETRAINED, FULL_FT))
        shape: Sequence[Relation | None] = ()
        if printed is not None and self.form.relation == "specialized":
            shape = [self._specialized(subject, row, column, found, float(printed))]
        elif printed is not None:
            paper = published.table(self.form.baselines or self.form.key)
            place = (subject.compared, column, paper)
            theirs = [_number(self.printed(recipe, *place)) for recipe in (PRETRAINED, FULL_FT)]
            shape = verdict.relations(row.key, found, float(printed), (base, full), theirs)
        own = subject.own and not column.stand_in
        # What was specialized on another domain is not asked to know this one.
        own_test = row.trained in (None, column.key) and row.key not in (PRETRAINED, FULL_FT)
        preserves = full if own_test else None
        known = [one for one in shape if one]
        result, why = verdict.judge(found, printed, known, own=own, preserves=preserves)
        if row.smallest and full and found.percent <= KEEPS * full.percent:
            none = f"no checkpoint keeps more than {100 * KEEPS:.0f}% of Full-FT"
            why = "; ".join(filter(None, [none, why]))
        return Cell(
            found.percent,
            printed,
            result,
            found.documents,
            found.ci95,
            deviation=found.deviation,
            why=self.context.named(why),
            sources=found.sources,
            details=of_accuracy(found, base, full),
        )

    def _minus_cell(self, subject: Subject, row: Row, column: Column) -> Cell | None:
        """Points over the first chain with as many units, paired where both answered the same."""
        first = Row(key="", names=self.context.chains[:1], kept=row.kept)
        if row.names in ((), first.names):
            return Cell()
        found, other = (self._accuracy(subject, one, column) for one in (row, first))
        if found is None or other is None:
            return None
        gap = found.minus(other)
        return Cell(gap.points, ci95=(gap.low, gap.high), sources=(*found.sources, *other.sources))

    def _specialized(
        self, subject: Subject, row: Row, column: Column, found: Accuracy, printed: float
    ) -> Relation | None:
        """Over the pretrained model; that itself is judged by what specializing gains on it."""
        if row.recipe != PRETRAINED:
            base = self._of(subject, PRETRAINED, column)
            before = _number(self.printed(PRETRAINED, "", column))
            shown = verdict.gain(found, base, printed, before)
            if shown is None or not shown.holds or printed > before or row.trained == column.key:
                return shown
            lost = verdict.lost_at_home(found, self.frame, self.context.domains)
            return verdict.of_a_lost(shown) if lost else shown
        near = self.context.near.items() if self.form.trained == "near" else ()
        expert = {there: here for here, there in near}.get(column.key, column.key)
        key = f"{expert}_specialized"
        other = self._accuracy(subject, next(r for r in self.rows if r.key == key), column)
        if other is None:
            told = f"the model specialized on {expert} was not run"
            return Relation(None, told, missing=True)
        return verdict.gain(other, found, _number(self.printed(key, "", column)), printed)

    # ---- throughput ----------------------------------------------------------------------------

    def timing(self, subject: Subject, row: Row) -> Any:
        """A row's measurement: of the full model, or of the first chain or pattern measured."""
        if subject.hardware is None:
            return None
        if row.format:
            return self._in_engine(subject, row)
        if row.recipe is None:
            found = self.trimmed(subject, row) if row.kept else {}
            return next((found[name] for name in (*row.names, *found) if name in found), None)
        place = {"hardware": subject.hardware, "model": subject.name}
        compressor = Recipe.parse(row.recipe).compressor
        full = where(self.frame.timings, **place, compressor=compressor)
        return next((one for one in rows(full) if one.base in (FULL, FULL_FT)), None)

    def _in_engine(self, subject: Subject, row: Row) -> Any:
        """A row's measurement in an engine."""
        place = {"hardware": subject.hardware, "model": subject.name, "batch": row.batch}
        found = where(self.frame.engines, **place, format=row.format)
        if row.recipe:
            return next(iter(rows(where(found, recipe=row.recipe))), None)
        found = derive.near(found[found.name.isin(row.names)], row.kept or 0.0)
        return next(iter(rows(found)), None)

    def trimmed(self, subject: Subject, row: Row) -> dict[str, Any]:
        """All that was measured for a row, by chain or pattern."""
        place = (self.frame, subject.hardware or "", subject.name)
        return derive.trimmed_timings(*place, row.kept or 0.0, row.compressor)

    def _over_cell(self, subject: Subject, timing: Any, printed: Value) -> Cell | None:
        """How many times as fast as this row TrimLLM is, both measured against the full model."""
        kept = self.form.reference
        names = tuple(name for row in self.rows if row.kept == kept for name in row.names)
        reference = self.timing(subject, Row(key="", names=names, kept=kept))
        if timing is None or reference is None:
            return None
        if timing.base not in (FULL, FULL_FT):
            return Cell()
        (gained, *around), own = derive.over(reference, timing), subject.own_speed
        spread = around[0], around[1]
        result, why = verdict.judge_relation(gained, spread, printed)
        if own or printed is None:
            result, why = verdict.judge_speed(gained, printed, own=own)
        if not (timing.in_turn and reference.in_turn):
            result, why = None, timed.WORDS[timed.APART]
        sources = (reference.source, timing.source)
        return Cell(gained, printed, result, spread=spread, why=why, sources=sources)

    # ---- time of training ----------------------------------------------------------------------

    def _time_cell(
        self, subject: Subject, row: Row, column: Column, printed: Value, of_paper: Value = None
    ) -> Cell | None:
        """Minutes of training, or a share of Full-FT's; of the scans alone that share.

        `of_paper` is the paper's share. An epoch has as many tokens as one of Full-FT.
        """
        epochs, place = column.epochs or 0, (self.frame, subject.name, self.context.timed.name)
        part = "scan" if column.scans else "train"
        what = next(filter(None, (row.recipe, *row.names)), "")
        runs = derive.epoch_times(*place, what)
        ours = [*derive.minutes(*place, what, epochs, part).values()]
        if not ours:
            return None
        if column.scans and not any(ours):
            return Cell()  # fine-tuning scans nothing
        shares = derive.shares_of_full_ft(*place, what, epochs, part)
        result, why = None, ""
        if printed is not None and self.context.lora:
            result, why = NOT_RUN, "LoRA-FT is no full fine-tuning, whose time the paper tells"
        elif printed is not None and row.longer_than:
            others = [
                [
                    *derive.minutes(
                        *place, next(filter(None, (o.recipe, *o.names)), ""), epochs
                    ).values()
                ]
                for o in self.rows
                if o.key in row.longer_than
            ]
            result, why = verdict.judge_longest(ours, others)
        elif printed is not None:
            result, why = verdict.judge_share(shares, _number(of_paper))
        each = ours if column.minutes else shares
        counts = runs.groupby("results", sort=False).size()
        told = f"{epochs} epochs measured"
        if (first := counts.iloc[0]) < epochs:
            told = f"{first} epochs measured, their mean times {epochs}"
        return Cell(
            fmean(each) if each else None,
            printed,
            result if each else NOT_RUN,
            n=int(counts.clip(upper=epochs).sum()),
            deviation=stdev(each) if len(each) > 1 else None,
            why="; ".join(filter(None, [why, told])),
            sources=tuple(dict.fromkeys(runs.source)),
        )


def _number(printed: Value) -> float:
    """What the paper prints where a number is meant."""
    return float(str(printed))


def _size_cell(
    size: str,
    found: Sequence[Accuracy],
    printed: Value,
    row: Row,
    *,
    own: bool,
    whole: bool = True,
) -> Cell | None:
    """Mean, smallest and largest over the domains, each of which drops other units.

    Judged where it was found, not asked for: of what is compressed, or the smallest above a bar;
    that is the largest, which is above it in every domain, and may become larger where the domains
    are not the `whole` of the table's.
    """
    if not found:
        return None
    compressed = found[0].tasks[0].compressor
    if size == "final":
        # The paper counts units, and of what is compressed the bytes.
        size = "bytes_percent" if compressed else "kept_percent"
    values = [getattr(accuracy, size) for accuracy in found]
    smallest = row.smallest and size == "kept_percent"
    shown, spread = (max if smallest else fmean)(values), (min(values), max(values))
    result, why = None, "" if printed is None else "asked for, not found"
    if compressed or row.smallest:
        result, why = verdict.judge_size(shown, printed, own=own, part=smallest and not whole)
    sources = tuple(source for accuracy in found for source in accuracy.sources)
    return Cell(shown, printed, result, spread=spread, why=why, sources=sources)


def _speed_cell(
    subject: Subject, figure: str, timing: Any, printed: Value, of_paper: Value = None
) -> Cell | None:
    """A figure of a measurement; `of_paper` is the paper's speedup of the row."""
    if timing is None:
        return None
    own, result, why = subject.own_speed, None, ""
    value, spread = _with_quartiles(timing, figure)
    if figure in ("decode", "speedup") and not timing.in_turn:
        why = timed.WORDS[timed.APART]
    elif figure in ("decode", "speedup") and not own and "baseline" in timing.content:
        ratio, around = _with_quartiles(timing, "speedup")
        assert ratio is not None  # every measurement has one, if that of the full model over itself
        result, why = verdict.judge_relation(ratio, around, of_paper)
    elif figure in ("decode", "speedup"):
        result, why = verdict.judge_speed(value, printed, own=own)
    elif figure == "mem" and timing.compressor:
        result, why = verdict.judge_size(value, printed, own=own)
    elif figure.startswith("compiled"):
        why = (timing.content.get("compiled") or {}).get("error", "")
    details = timed.recorded(timing) if figure == "decode" and value is not None else {}
    sources = (timing.source,)
    told: dict[str, Any] = {"spread": spread, "why": why, "sources": sources, "details": details}
    return Cell(value, printed, result, **told)


def _with_quartiles(timing: Any, figure: str) -> tuple[float | None, tuple[float, float] | None]:
    low, high = (getattr(timing, f"{figure}_{end}", None) for end in ("low", "high"))
    return getattr(timing, figure), None if low is None or high is None else (low, high)
