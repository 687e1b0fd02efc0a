"""Fills a table: one long frame, a row a cell, with the measured and the printed number.

For each block, row and column of the specification (`tables.py`): find the checkpoint or
measurement (`derive.py`), set the paper's number beside it (`published.py`), judge it
(`verdict.py`). What was not measured is a `not run` cell.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import pandas as pd

from trimllm.base.errors import UserError
from trimllm_paper import derive, published, render, verdict
from trimllm_paper.context import Context, Model
from trimllm_paper.derive import Accuracy
from trimllm_paper.frames import Frame, rows, where
from trimllm_paper.published import Value
from trimllm_paper.recipe import FULL, FULL_FT, PRETRAINED, RANDOM, Recipe
from trimllm_paper.recipe import FULL_FT_CHOICES as CHOICES
from trimllm_paper.specification import Column, Row
from trimllm_paper.tables import TABLES
from trimllm_paper.verdict import NONE, NOT_RUN, Relation, Verdict

NO_VERDICT: Verdict = (None, "")


@dataclass(frozen=True)
class Block:
    """A model, on a machine where it was timed; `paper` is the paper's block beside it."""

    key: str
    label: str
    paper: str
    published_as: str | None  # `paper` in words; None: the paper has no such table
    is_paper: bool = True  # whether its numbers can reproduce the paper's
    name: str = ""  # of the model in paths; "" for the paper's numbers alone
    model: Model | None = None
    hardware: str | None = None
    own_model: bool = False  # whether it is the paper's model, fully fine-tuned


@dataclass(frozen=True)
class Line:
    """A row of a block: its measurement of throughput, and by column its accuracy (NONE: its chain
    has no checkpoint that keeps enough) and the paper's number."""

    block: Block
    row: Row
    timing: Any
    accuracies: dict[str, Accuracy | str | None]
    printed: dict[str, Value]


@dataclass(frozen=True)
class Cell:
    """A measured cell; `low` and `high` are the 95% interval, of sizes the smallest and largest."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    n: int | None = None
    judged: Verdict = NO_VERDICT
    sources: Sequence[str] = ()
    details: dict[str, Any] = field(default_factory=dict)


def build(key: str, frame: Frame, context: Context) -> render.Rendered:
    """A table; `frame` holds the results that it shows, and no others."""
    return _Builder(key, frame, context).build()


class _Builder:
    """One method a kind of column: its cell in a line, or None for what was not run."""

    def __init__(self, key: str, frame: Frame, context: Context) -> None:
        self.frame, self.context = frame, context
        self.spec = render.labelled(TABLES[key](context), frame, context)
        self.timings = self.spec.timings(frame)
        self.domains = [c for c in self.spec.columns if c.shows == "accuracy"]

    def build(self) -> render.Rendered:
        cells = pd.DataFrame([*self._cells()], dtype=object)
        if cells.empty:
            raise UserError(f"{self.spec.key}: nothing was measured; is an engine installed?")
        cells = cells.astype(dict.fromkeys(("value", "low", "high", "deviation"), float))
        known = cells[cells.value.notna() | cells.printed.notna()].column.unique()
        shown = [c for c in self.spec.columns if c.shows != "speed" or c.key in known]
        cells = cells[cells.column.isin([c.key for c in shown])]
        stand_ins = cells.column.map({c.key: c.stand_in for c in self.domains})
        cells["stand_in"] = stand_ins.where(cells.value.notna())
        spec = replace(self.spec, columns=tuple(shown))
        header = [*render.header(spec, self.frame, self.context)]
        notes = [*render.notes(spec, self.frame, self.context, cells)]
        return render.Rendered(spec.key, spec.title, shown, cells, header, notes)

    # ---- blocks and lines ----------------------------------------------------------------------

    def _blocks(self) -> Iterator[Block]:
        """Our models, on machines those that were timed and those that have accuracies, then other
        timed ones; last the paper's blocks that stand beside none of ours."""
        spec, paper = self.spec, published.table(self.spec.key).blocks
        of_gpus = {gpu: f"{published.LABELS[spec.compared]}, {gpu}" for gpu in spec.gpus.values()}
        labels = published.LABELS | of_gpus
        known = [key for key in paper if key in published.LABELS] or [spec.compared]
        models = {model.name: model for model in spec.models}
        beside = set[str]()
        for hardware, name in self._places():
            model, shape = models.get(name), name.removeprefix(RANDOM)
            own_model = model is not None and model.published in known
            own_speed = (own_model or shape == spec.compared) and hardware in spec.gpus
            key, label = name, model.label if model else name
            compared = str(model.published) if model and own_model else spec.compared
            if name != shape:
                label = f"{published.LABELS.get(shape, shape)} shape, random weights"
            if spec.blocks != "model":
                first = next(iter(spec.gpus.values()), "")
                compared = spec.gpus[str(hardware)] if own_speed else first
                contents = where(self.timings, hardware=hardware, model=name).content
                dtypes = [content.get("dtype") for content in contents[:1]]
                label = ", ".join(filter(None, [label, hardware or "not timed", *dtypes]))
                key = f"{hardware or '-'}/{name}"
            beside.add(compared)
            published_as = labels[compared] if paper else None
            is_paper = own_speed if hardware else own_model
            place = name, model, hardware, own_model and not self.context.lora
            yield Block(key, label, compared, published_as, is_paper, *place)
        for key in paper:
            if key in labels and key not in beside:
                yield Block(key, labels[key], key, labels[key])

    def _places(self) -> list[tuple[str | None, str]]:
        """Machines and models: a model without a machine was not timed."""
        names = [model.name for model in self.spec.models]
        timed = sorted({*zip(self.timings.hardware, self.timings.model, strict=True)})
        places = [place for name in names for place in timed if place[1] == name]
        if self.domains or self.spec.blocks == "model":
            places += [(None, name) for name in names if name not in {*self.timings.model}]
        return places + [place for place in timed if place[1] not in names]

    def _cells(self) -> Iterator[dict[str, Any]]:
        """All cells as rows of the long frame. In Table 1 other chains than a row's first
        have rows below."""
        for block in self._blocks():
            others: list[tuple[Row, Any]] = []
            for row in self.spec.rows:
                timings = self._timings(block, row) or {"": None}
                name, *more = timings
                yield from self._line(block, row, timings[name])
                for other in () if self.domains else more:
                    section = f"trimmed by {timings[other].content.get('pattern') or other}"
                    shown = replace(row, key=f"{row.key}_{other}", section=section)
                    others.append((shown, timings[other]))
            for row, timing in sorted(others, key=lambda one: one[0].section):
                yield from self._line(block, row, timing)

    def _line(self, block: Block, row: Row, timing: Any) -> Iterator[dict[str, Any]]:
        """Cells of a row; of the paper's blocks those that it prints."""
        columns = self.spec.columns
        printed = {c.key: self._printed(block, row.key, c) for c in columns}
        if not block.name and not any(value is not None for value in printed.values()):
            return
        accuracies = {c.key: self._measured(block, row, c) for c in self.domains}
        line = Line(block, row, timing, accuracies, printed)
        named = self.context.named if block.name else str
        for column in columns:
            cell = getattr(self, f"_{column.shows}")(line, column) if block.name else None
            content = dict(vars(cell or Cell(judged=(NOT_RUN, ""))))
            result, why = content.pop("judged")
            yield {
                **{"table": self.spec.key, "block": block.key, "block_label": block.label},
                **{"published_as": block.published_as, "is_paper": block.is_paper},
                **{"row": row.key, "row_label": named(row.label)},
                **{"section": named(row.section), "column": column.key, **content},
                **{"printed": printed[column.key], "verdict": result, "why": named(why)},
            }

    def _printed(self, block: Block, row: str, column: Column, table: str = "") -> Value:
        """The paper's number; None where it has none, and for the accuracy of random weights."""
        if column.shows == "accuracy" and block.name and not block.model:
            return None
        paper = published.table(table or self.spec.key)
        of_row, _, key = row.rpartition("/")
        place = next((b for b in (of_row, block.paper) if b in paper.blocks), "")
        return paper.value(key, column.key, place)

    # ---- accuracy and size ---------------------------------------------------------------------

    def _measured(self, block: Block, row: Row, column: Column) -> Accuracy | str | None:
        """Accuracy of a row's recipe, or of the first of its chains that was measured."""
        if block.model is None:
            return None
        place = self.frame, block.name, row.trained or column.tested
        of_chains = (
            self._smallest(block, row, column, name)
            if row.smallest
            else derive.nearest(*place, name, row.kept)
            for name in row.names
        )
        recipe = row.recipe or next(filter(None, of_chains), None)
        if recipe is None or recipe == NONE:
            return recipe
        recipe = str(Recipe.parse(recipe).compressed(row.compressor))
        return derive.accuracy(*place, recipe, column.tasks)

    def _smallest(self, block: Block, row: Row, column: Column, name: str) -> str | None:
        """The chain's smallest trimmed checkpoint that keeps enough on held-back documents
        (Algorithm 1, C_a)."""
        place = self.frame, block.name, column.tested, name
        evaluated = [one.tasks[0] for one in derive.checkpoints(*place, column.tasks)]
        chain = {one.dropped: one.recipe for one in evaluated}
        shares = derive.held_back_shares(*place)
        bar = row.smallest / 100
        enough = [dropped for dropped in chain if dropped and shares.get(dropped, 0) > bar]
        if enough:
            return chain[max(enough)]
        known = chain and chain.keys() <= shares.keys() and (0 in chain or not row.every)
        return NONE if known else None

    def _accuracy(self, line: Line, column: Column) -> Cell | None:
        accuracy, block = line.accuracies[column.key], line.block
        if block.model is None:
            return Cell()  # random weights answer nothing
        if accuracy == NONE:
            return Cell(judged=(NONE, f"none keeps more than {line.row.smallest:g}% of Full-FT"))
        if not isinstance(accuracy, Accuracy):
            return None
        place, recipes = (self.frame, block.name, column.tested), (PRETRAINED, FULL_FT, CHOICES)
        base, full, most = (derive.accuracy(*place, recipe, column.tasks) for recipe in recipes)
        return Cell(
            *(accuracy.percent, *accuracy.ci95, accuracy.deviation, accuracy.documents),
            judged=self._judged(line, column, accuracy, (base, full)),
            sources=accuracy.sources,
            details=accuracy.facts(base, full, most),
        )

    def _judged(
        self, line: Line, column: Column, accuracy: Accuracy, baselines: Sequence[Accuracy | None]
    ) -> Verdict:
        """Verdict on an accuracy that the paper prints. What a model specialized on another domain
        loses here is no specialization if it has lost its own domain, too."""
        row, printed, (base, full) = line.row, line.printed[column.key], baselines
        if printed is None:
            return NO_VERDICT
        number, shape = float(printed), list[Relation]()
        before, whole = (
            float(self._printed(line.block, one, column, self.spec.baselines) or 0)
            for one in (PRETRAINED, FULL_FT)
        )
        is_baseline = row.recipe in (PRETRAINED, FULL_FT) and not row.compressor
        if row.recipe != PRETRAINED:
            shape = verdict.gain(accuracy, base, number, before)
        if not row.trained and not is_baseline:
            shape += verdict.keeps(accuracy, full, number, whole)
        elsewhere = row.trained not in ("", column.key)
        fallen = elsewhere and number < before and shape and shape[0].holds
        if fallen and verdict.lost_at_home(accuracy, self.frame, self.context.domains):
            lost = "it has lost its own domain: what it loses elsewhere is no specialization"
            shape = [Relation(None, f"{lost}; {shape[0].text}")]
        own = line.block.own_model and not column.stand_in
        # A model that was specialized on another domain need not know this one.
        preserves = None if elsewhere or is_baseline else full
        return verdict.judge(accuracy, number, shape, own=own, preserves=preserves)

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
        """Mean, smallest and largest over domains. Judged if it follows from accuracy: the smallest
        above a bar (the largest over domains), and of compressed models the paper's own."""
        row, size, own = line.row, column.of, line.block.own_model
        if NONE in line.accuracies.values():
            return Cell(judged=(NONE, ""))
        accuracies = [one for one in line.accuracies.values() if isinstance(one, Accuracy)]
        if not accuracies:
            return None
        compressed, judged = accuracies[0].tasks[0].compressor, NO_VERDICT
        if size == "final":  # the paper counts sublayers, and of compressed models the bytes
            size = "bytes_percent" if compressed else "kept_percent"
        values = [getattr(accuracy, size) for accuracy in accuracies]
        smallest = bool(row.smallest) and size == "kept_percent"
        value, printed = (max if smallest else fmean)(values), line.printed[column.key]
        own = own and not (smallest and any(one.stand_in for one in self.domains))
        if printed is not None and (row.smallest or (compressed and own)):
            part = smallest and len(accuracies) < len(self.domains)
            judged = verdict.judge_size(value, printed, own=own, part=part)
        sources = tuple(source for accuracy in accuracies for source in accuracy.sources)
        return Cell(value, min(values), max(values), judged=judged, sources=sources)

    # ---- speed and time ------------------------------------------------------------------------

    def _timings(self, block: Block, row: Row) -> dict[str, Any]:
        """Measurements for a row: of the full model, or by chain or pattern, the row's first."""
        measured = where(self.timings, hardware=block.hardware, model=block.name)
        if row.format:  # an engine's: of the row's chain alone
            measured = where(measured, format=row.format, batch=row.batch)
            measured = measured[measured.name.isin(row.names) | measured.name.isna()]
        if row.recipe:
            measured = measured[measured.base.isin([FULL, FULL_FT])]
            full = rows(where(measured, compressor=row.compressor))
            return {"": full[0]} if full else {}
        return derive.trimmed_timings(measured, row.kept, row.compressor, row.names)

    def _speed(self, line: Line, column: Column) -> Cell | None:
        """A figure of a measurement of throughput."""
        timing, figure, printed = line.timing, column.of, line.printed[column.key]
        if timing is None:
            return None
        value, judged = getattr(timing, figure), NO_VERDICT
        low, high = (getattr(timing, f"{figure}_{end}", None) for end in ("low", "high"))
        if figure.startswith("compiled"):
            judged = None, (timing.content.get("compiled") or {}).get("error", "")
        elif figure == "mem" and printed is not None:
            if timing.compressor and line.block.is_paper:
                judged = verdict.judge_size(value, printed, own=True)
        elif figure in ("decode", "speedup") and printed is not None:
            if line.block.is_paper:
                judged = verdict.judge_speed(value, float(printed))
            elif "baseline" in timing.content:
                paper = float(line.printed["speedup"] or 0)
                judged = verdict.judge_ratio(derive.speedup(timing), paper)
        return Cell(value, low, high, judged=judged, sources=(timing.source,))

    def _time(self, line: Line, column: Column) -> Cell | None:
        """Minutes of training, or training or scans in percent of Full-FT's training."""
        epochs, what = column.epochs, next(filter(None, (line.row.recipe, *line.row.names)), "")
        place = self.frame, line.block.name, self.context.timed.name
        times = derive.training_time(*place, what, epochs)
        if column.of == "minutes":  # of the first seed's machine: two have no mean
            times = times[times.machine.isin(times.machine.head(1))]
        values, shares = times[column.of].dropna(), [*times.share.dropna()]
        if values.empty:
            return None
        if column.of == "scans" and not values.any():
            return Cell()  # fine-tuning scans nothing
        printed, result, why = line.printed[column.key], None, ""
        if printed is not None and self.context.lora:
            result, why = NOT_RUN, "LoRA-FT is no full fine-tuning, whose time the paper reports"
        elif printed is not None and what != FULL_FT:
            paper = float(line.printed[f"share_{epochs}"] or 0)
            result, why = verdict.judge_share(shares, paper)
        measured = times.measured.iloc[0]
        note = f"{measured} epochs measured"
        note += "" if measured >= epochs else f", their mean times {epochs}"
        return Cell(
            float(values.mean()),
            deviation=float(values.std()) if len(values) > 1 else None,
            n=int(times.measured.sum()),
            judged=(result, "; ".join(filter(None, [why, note]))),
            sources=tuple(source for sources in times.sources for source in sources),
        )
