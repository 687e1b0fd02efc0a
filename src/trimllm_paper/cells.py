"""Fills a table: one long frame, a row a cell, with the measured and the printed number.

For each block (a model, or a machine and model), row and column of the specification (`tables.py`):
find the checkpoint or measurement (`derive.py`), set the paper's number beside it (`published.py`),
judge it (`verdict.py`). What was not measured is a `not run` cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from trimllm.throughput.result import predicted
from trimllm_paper import derive, published, table_notes, verdict
from trimllm_paper.context import FULL as FULL_LABEL
from trimllm_paper.context import Context, Model
from trimllm_paper.derive import Accuracy
from trimllm_paper.frames import Frame, rows, where
from trimllm_paper.published import Value
from trimllm_paper.recipe import FULL, FULL_FT, PRETRAINED, Recipe
from trimllm_paper.render import Rendered
from trimllm_paper.tables import REFERENCE_KEPT, Column, Row, Table, table
from trimllm_paper.verdict import KEEPS, NONE, NOT_RUN, Relation

APART = "not timed in turn"
"""Memory did not hold both models; such a row has no verdict."""


@dataclass(frozen=True)
class Cell:
    """A cell. `low` and `high`: the 95% interval, of sizes the smallest and largest over domains;
    `deviation`: over seeds; `details`: further columns of the CSV."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    n: int | None = None
    printed: Value = None
    verdict: str | None = None
    why: str = ""
    sources: Sequence[str] = ()
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """A block: a model, on a machine where it was timed.

    `compared` is the key of the paper's block beside it; `own`: whether this is the paper's model,
    `own_speed`: whether its shape and the machine are.
    """

    key: str
    label: str
    published_as: str | None = None
    is_paper: bool = False
    compared: str = ""
    name: str = ""
    model: Model | None = None
    hardware: str | None = None
    own: bool = False
    own_speed: bool = False


@dataclass(frozen=True)
class Line:
    """A row of a block with its measurement of throughput, and its recipe by domain."""

    block: Block
    row: Row
    timing: Any
    recipes: dict[str, str | None]


def build(key: str, frame: Frame, context: Context) -> Rendered:
    """A table; `frame` holds the results that it shows, and no others.

    Raises `UserError` for an unknown table.
    """
    return _Builder(table(key, context), frame, context).build()


class _Builder:
    def __init__(self, spec: Table, frame: Frame, context: Context) -> None:
        self.spec, self.frame, self.context = spec, frame, context
        self.timings = frame.engines if spec.blocks == "engine" else frame.timings
        self.domains = [c for c in spec.columns if c.shows == "accuracy"]
        self.stand_ins = {c.key: self._stand_in(c) for c in self.domains}
        self.chosen_by: set[str] = set()

    def build(self) -> Rendered:
        """The whole table."""
        spec, named = self.spec, self.context.named
        cells = pd.DataFrame([*self._measured(), *self._of_paper()], dtype=object)
        cells = cells.astype(dict.fromkeys(("value", "low", "high", "deviation"), float))
        known = cells[cells.value.notna() | cells.printed.notna()].column.unique()
        columns = [self._named(c) for c in spec.columns if c.shows != "speed" or c.key in known]
        cells = cells[cells.column.isin([c.key for c in columns])]
        cells["stand_in"] = cells.column.map(self.stand_ins).where(cells.value.notna())
        by = " and ".join(sorted(self.chosen_by)) or "by held-back documents"
        notes = [named(note.replace("{by}", by)) for note in spec.notes]
        notes += table_notes.notes(spec, self.frame, cells, columns)
        header = [*map(named, spec.header)]
        header += table_notes.header(spec, self.frame, self.context, columns, self.stand_ins)
        return Rendered(spec.key, spec.title, columns, cells, header, notes, self.stand_ins)

    def _named(self, column: Column) -> Column:
        """A column with the label of what was measured."""
        label = self.context.named(column.label)
        if label != column.label:
            label += f" (the paper's of {FULL_LABEL})"
        if column.shows == "accuracy" and self._evaluations(column).token_f1.notna().any():
            label += " (F1)"
        if column.shows == "speed" and self.spec.blocks == "both":
            timed = {one.content.get("domain") for one in rows(self.timings) if one.base == "trim"}
            labels = {domain.name: domain.label for domain in self.context.domains}
            if names := [labels.get(name, name) for name in sorted(filter(None, timed))]:
                label += f", checkpoint of {' or '.join(names)}"
        return replace(column, label=label)

    def _evaluations(self, column: Column) -> pd.DataFrame:
        tasks = column.domain.tasks if column.domain else ()
        return self.frame.evaluations[self.frame.evaluations.task.isin(tasks)]

    def _stand_in(self, column: Column) -> str | None:
        """What the documents of a column are, if not the paper's: by their records, or domain."""
        recorded = dict.fromkeys(self._evaluations(column).stand_in)
        return "; ".join(filter(None, recorded)) or (column.domain and column.domain.stand_in)

    # ---- blocks and lines ----------------------------------------------------------------------

    def _measured(self) -> Iterator[dict[str, Any]]:
        """Cells of our own blocks. In Table 1 other chains and patterns than a row's first have
        rows below."""
        for block in self._models() if self.spec.blocks == "model" else self._machines():
            others: list[tuple[Row, Any]] = []
            for row in self.spec.rows:
                name, *more = found = self._timings_of(block, row) or {"": None}
                yield from self._line(block, row, found[name])
                for other in more if self.spec.blocks == "machine" else ():
                    section = f"trimmed by {found[other].content.get('pattern') or other}"
                    told = {"key": f"{row.key}_{other}", "section": section, "paper": ""}
                    others.append((replace(row, **told), found[other]))
            for row, timing in sorted(others, key=lambda one: one[0].section):
                yield from self._line(block, row, timing)

    def _line(self, block: Block, row: Row, timing: Any) -> Iterator[dict[str, Any]]:
        """Cells of a row."""
        recipes = {c.key: self._recipe(block, row, c) for c in self.domains}
        line = Line(block, row, timing, recipes)
        label, section = row.label, row.section
        if row.format and timing is not None:
            section += f": {timing.how}"
        elif timing is not None:
            dense = timing.content.get("layers") == ["Linear"]
            marks = [] if timing.in_turn else [APART]
            marks += ["zeros stored"] if timing.compressor == "sparsegpt_2_4" and dense else []
            label = ": ".join(filter(None, [label, ", ".join(marks)]))
        show = {
            **{"accuracy": self._accuracy, "difference": self._difference, "size": self._size},
            **{"speed": self._speed, "minutes": self._time, "share": self._time},
            "scans": self._time,
        }
        for column in self.spec.columns:
            printed = self._printed(block, row, column)
            if column.shows == "accuracy" and block.model is None:
                cell = Cell()  # random weights answer nothing
            else:
                cell = show[column.shows](line, column, printed) or Cell(verdict=NOT_RUN)
                cell = replace(cell, printed=printed)
            words = {"label": self.context.named(label), "section": self.context.named(section)}
            yield self._entry(block, replace(row, **words), column, cell)

    def _entry(self, block: Block, row: Row, column: Column, cell: Cell) -> dict[str, Any]:
        """A row of the long frame."""
        found = {"table": self.spec.key, "block": block.key, "block_label": block.label}
        found |= {"published_as": block.published_as, "is_paper": block.is_paper}
        found |= {"row": row.key, "row_label": row.label, "section": row.section or None}
        return found | {"column": column.key} | asdict(cell)

    def _of_paper(self) -> Iterator[dict[str, Any]]:
        """Cells of the paper's other models or GPUs: its numbers alone."""
        shown = {b.published_as for b in self._blocks if b.is_paper or self.spec.blocks == "model"}
        labels = {row.paper or row.key: row.label for row in self.spec.rows} | {
            "trimllm": "TrimLLM"
        }
        compared = published.LABELS[self.spec.compared]
        named = published.LABELS | {g: f"{compared}, {g}" for g in self.spec.gpus.values()}
        for key in self.spec.paper.blocks:
            if key not in named or named[key] in shown:
                continue
            block = Block(key, named[key], named[key], is_paper=True, compared=key)
            for name in self.spec.paper.rows(key):
                row = Row(name, labels.get(name, name))
                for column in self.spec.columns:
                    printed = self._printed(block, row, column)
                    cell = Cell(printed=printed, verdict=NOT_RUN)
                    yield self._entry(block, row, column, cell)

    @property
    def _blocks(self) -> list[Block]:
        return [*(self._models() if self.spec.blocks == "model" else self._machines())]

    def _models(self) -> Iterator[Block]:
        """A block for each model; a stand-in is set beside the model that the table names."""
        known = [b for b in self.spec.paper.blocks if b in published.LABELS] or [self.spec.compared]
        for model in self.spec.models:
            own = model.published in known
            compared = str(model.published) if own else self.spec.compared
            named = published.LABELS[compared] if self.spec.paper.blocks else None
            facts = {"compared": compared, "name": model.name, "model": model}
            own_model = own and not self.context.lora
            yield Block(model.name, model.label, named, own, own=own_model, **facts)

    def _machines(self) -> Iterator[Block]:
        """A block for each machine and model; of `both` the configured models come first, also
        those that were not timed."""
        spec, timings = self.spec, self.timings
        timed = sorted(set(zip(timings.hardware, timings.model, strict=True)))
        models = {model.name: model for model in spec.models}
        groups: list[tuple[str | None, str]] = [*timed]
        if spec.blocks == "both":
            untimed = [(None, name) for name in models if name not in {m for _, m in timed}]
            groups = [(h, name) for name in models for h, model in timed if model == name]
            groups += [*untimed, *((h, model) for h, model in timed if model not in models)]
        for hardware, name in groups:
            model = models.get(name)
            shape = spec.compared in (model and model.published, name.removeprefix("random-"))
            own_speed = shape and hardware in spec.gpus
            first = next(iter(spec.gpus.values()), "")
            gpu = spec.gpus[str(hardware)] if own_speed else first
            found = where(timings, hardware=hardware, model=name).content
            content = found.iloc[0] if len(found) else {}
            label = model.label if model else content.get("label") or name
            label += ", random weights" if content.get("random_weights") else ""
            told = [label, hardware or "not timed", content.get("dtype")]
            yield Block(
                f"{hardware or '-'}/{name}",
                ", ".join(filter(None, told)),
                f"{published.LABELS[spec.compared]}, {gpu}" if gpu else None,
                own_speed or (shape and hardware is None),
                gpu,
                *(name, model, hardware),
                own=bool(model) and model.published == spec.compared and not self.context.lora,
                own_speed=own_speed,
            )

    # ---- the paper's numbers -------------------------------------------------------------------

    def _printed(
        self, block: Block, row: Row, column: Column, paper: published.PublishedTable | None = None
    ) -> Value:
        """The paper's number, or what follows from its numbers; None where it has none."""
        paper, name = paper or self.spec.paper, column.printed or column.key
        where_, _, key = (row.paper or row.key).rpartition("/")
        if name not in paper.columns or column.under == key or column.shows == "scans":
            return None
        where_ = next((b for b in (where_, block.compared) if b in paper.blocks), "")
        value = paper.value(key, name, where_)
        if value is None or isinstance(value, str):
            return value
        if column.under:
            return paper.number(column.under, name, where_) / value
        over = paper.number(column.over, name, where_) if column.over else 1
        return column.times * value / over

    # ---- accuracy ------------------------------------------------------------------------------

    def _recipe(self, block: Block, row: Row, column: Column) -> str | None:
        """Recipe of a row, or that of the first of its chains that was measured; NONE: the chain
        has no checkpoint that keeps enough."""
        if row.recipe or block.model is None or column.domain is None:
            return row.recipe or None
        place = (self.frame, block.name, row.trained or column.domain.name)
        for name in row.names:
            if row.smallest:
                found = self._smallest(block, column, name)
            else:
                found = derive.nearest(*place, name, row.kept)
            if found:
                return (
                    found if found == NONE else str(Recipe.parse(found).compressed(row.compressor))
                )
        return None

    def _find(self, block: Block, recipe: str | None, column: Column, trained: str = "") -> Any:
        """Accuracy of a recipe on the tests of a column (None: not run), trained on its domain or
        another."""
        if recipe in (None, NONE) or block.model is None or column.domain is None:
            return None
        place = (self.frame, block.name, trained or column.domain.name)
        return derive.accuracy(*place, str(recipe), column.domain.tasks)

    def _smallest(self, block: Block, column: Column, name: str) -> str | None:
        """The chain's smallest trimmed checkpoint that keeps enough (Algorithm 1, C_a), chosen by
        held-back documents if they were recorded, else by the tests."""
        full = self._find(block, FULL_FT, column)
        if full is None or column.domain is None:
            return None
        place = (self.frame, block.name, column.domain.name)
        chain = dict(derive.checkpoints(*place, name, column.domain.tasks))
        shares = derive.held_back_shares(*place, name)
        by = "by held-back documents, before annealing"
        if not shares.keys() >= chain.keys():
            by = "and judged by the same test documents"
            shares = {n: one.percent / max(full.percent, 1e-9) for n, one in chain.items()}
        enough = [dropped for dropped in chain if dropped and shares[dropped] > KEEPS]
        if enough:
            self.chosen_by.add(by)
            return chain[max(enough)].tasks[0].recipe
        return NONE if 0 in chain else None

    def _accuracy(self, line: Line, column: Column, printed: Value) -> Cell | None:
        block, row, recipe = line.block, line.row, line.recipes[column.key]
        if recipe == NONE:
            return Cell(verdict=NONE, why=f"none keeps more than {100 * KEEPS:.0f}% of Full-FT")
        found = self._find(block, recipe, column, row.trained)
        if found is None:
            return None
        base, full = (self._find(block, one, column) for one in (PRETRAINED, FULL_FT))
        shape: list[Relation] = []
        if printed is not None:
            paper = published.table(self.spec.baselines or self.spec.key)
            theirs = [
                _number(self._printed(block, Row(one, one), column, paper))
                for one in (PRETRAINED, FULL_FT)
                if one == PRETRAINED or not self.spec.trained
            ]
            if self.spec.trained:
                shape = self._specialized(row, column, found, base, float(printed), theirs[0])
            else:
                shape = verdict.relations(row.key, found, float(printed), (base, full), theirs)
        own = block.own and not self.stand_ins[column.key]
        # A model that was specialized on another domain is not asked to know this one.
        at_home = row.trained in ("", column.key) and row.key not in (PRETRAINED, FULL_FT)
        preserves = full if at_home else None
        result, why = verdict.judge(found, printed, shape, own=own, preserves=preserves)
        return Cell(
            found.percent,
            *found.ci95,
            found.deviation,
            found.documents,
            verdict=result,
            why=self.context.named(why),
            sources=found.sources,
            details=_details(found, base, full),
        )

    def _specialized(
        self, row: Row, column: Column, found: Accuracy, base: Any, printed: float, before: float
    ) -> list[Relation]:
        """The relation to the pretrained model; what a model loses elsewhere is no specialization
        if it has lost its own domain, too."""
        if row.recipe == PRETRAINED:
            return []
        shown = verdict.gain(found, base, printed, before)
        elsewhere = printed < before and row.trained != column.key
        lost = shown and shown.holds and elsewhere
        if shown and lost and verdict.lost_at_home(found, self.frame, self.context.domains):
            lost = "it has lost its own domain: what it loses elsewhere is no specialization"
            return [Relation(None, f"{lost}; {shown.text}")]
        return [shown] if shown else []

    def _difference(self, line: Line, column: Column, _: Value) -> Cell | None:
        """Points over the first chain at the same kept fraction."""
        first = Row("", "", names=self.context.chains[:1], kept=line.row.kept)
        if line.row.names in ((), first.names):
            return Cell()
        found, other = (
            self._find(line.block, self._recipe(line.block, one, column), column)
            for one in (line.row, first)
        )
        if found is None or other is None:
            return None
        gap, sources = found.minus(other), (*found.sources, *other.sources)
        return Cell(gap.points, gap.low, gap.high, sources=sources)

    # ---- size, speed, time ---------------------------------------------------------------------

    def _size(self, line: Line, column: Column, printed: Value) -> Cell | None:
        """Mean, smallest and largest over domains. Judged if it was not asked for: the smallest
        above a bar (the largest over domains), and of compressed models the paper's own."""
        row, block = line.row, line.block
        if NONE in line.recipes.values():
            return Cell(verdict=NONE)
        found = [
            one
            for c in self.domains
            if (one := self._find(block, line.recipes[c.key], c, row.trained))
        ]
        if not found:
            return None
        compressed, size = found[0].tasks[0].compressor, column.of
        if size == "final":  # the paper counts sublayers, and of compressed models the bytes
            size = "bytes_percent" if compressed else "kept_percent"
        values = [getattr(accuracy, size) for accuracy in found]
        smallest = row.smallest and size == "kept_percent"
        value, part = (max if smallest else fmean)(values), len(found) < len(self.domains)
        result, why = None, ""
        if row.smallest or (compressed and block.own):
            result, why = verdict.judge_size(value, printed, own=block.own, part=smallest and part)
        sources = tuple(source for accuracy in found for source in accuracy.sources)
        return Cell(value, min(values), max(values), verdict=result, why=why, sources=sources)

    def _timings_of(self, block: Block, row: Row) -> dict[str, Any]:
        """Measurements for a row: of the full model, or by chain or pattern, the row's first."""
        place = {"hardware": block.hardware, "model": block.name}
        if row.format:
            found = where(self.frame.engines, **place, format=row.format, batch=row.batch)
            chosen = where(found, recipe=row.recipe) if row.recipe else found
            if not row.recipe:
                chosen = derive.near(found[found.name.isin(row.names)], row.kept)
            return dict(zip([""], rows(chosen), strict=False))
        if row.recipe:
            compressor = Recipe.parse(row.recipe).compressor
            full = where(self.frame.timings, **place, compressor=compressor)
            return dict(zip([""], rows(full[full.base.isin([FULL, FULL_FT])]), strict=False))
        if not row.kept or block.hardware is None:
            return {}
        trimmed = (self.frame, block.hardware, block.name, row.kept, row.compressor)
        found = derive.trimmed_timings(*trimmed)
        return {name: found[name] for name in (*row.names, *found) if name in found}

    def _speed(self, line: Line, column: Column, printed: Value) -> Cell | None:
        """A figure of a measurement of throughput."""
        timing, figure, block = line.timing, column.of, line.block
        if timing is None:
            return None
        full = timing.base in (FULL, FULL_FT)
        if figure == "trim_over":
            return self._trim_over(line, printed) if full else Cell()
        value = getattr(timing, figure)
        low, high = (getattr(timing, f"{figure}_{end}", None) for end in ("low", "high"))
        result, why = None, ""
        if figure in ("decode", "speedup"):
            if not timing.in_turn:
                why = APART
            elif block.own_speed:
                result, why = verdict.judge_speed(value, printed)
            elif "baseline" in timing.content:
                speedups = [c for c in self.spec.columns if c.of == "speedup"]
                of_paper = self._printed(block, line.row, speedups[0])
                result, why = verdict.judge_ratio(derive.speedup(timing), of_paper)
        elif figure == "mem" and timing.compressor and block.own_speed:
            result, why = verdict.judge_size(value, printed, own=True)
        elif figure.startswith("compiled"):
            why = (timing.content.get("compiled") or {}).get("error", "")
        details = _recorded(timing) if figure == "decode" and value is not None else {}
        told = {"verdict": result, "why": why, "sources": (timing.source,), "details": details}
        return Cell(value, low, high, **told)

    def _trim_over(self, line: Line, printed: Value) -> Cell | None:
        """How many times as fast as this row TrimLLM is, both measured against the full model."""
        reference = next((r for r in self.spec.rows if r.kept == REFERENCE_KEPT), None)
        found = self._timings_of(line.block, reference) if reference else {}
        if not found:
            return None
        trimmed = next(iter(found.values()))
        ratio = derive.over(trimmed, line.timing)
        if not (trimmed.in_turn and line.timing.in_turn):
            result, why = None, APART
        elif line.block.own_speed:
            result, why = verdict.judge_speed(ratio[0], printed)
        else:
            result, why = verdict.judge_ratio(ratio, printed)
        sources = (trimmed.source, line.timing.source)
        return Cell(*ratio, verdict=result, why=why, sources=sources)

    def _time(self, line: Line, column: Column, printed: Value) -> Cell | None:
        """Minutes of training, or training or scans in percent of Full-FT's training."""
        epochs, part = int(column.of), "scan" if column.shows == "scans" else "train"
        what = next(filter(None, (line.row.recipe, *line.row.names)), "")
        place = (self.frame, line.block.name, self.context.timed.name, what)
        minutes = [*derive.minutes(*place, epochs, part).values()]
        if not minutes:
            return None
        if part == "scan" and not any(minutes):
            return Cell()  # fine-tuning scans nothing
        shares = derive.shares_of_full_ft(*place, epochs, part)
        result, why = None, ""
        if printed is not None and self.context.lora:
            result, why = NOT_RUN, "LoRA-FT is no full fine-tuning, whose time the paper reports"
        elif printed is not None and what != FULL_FT:
            share = next(c for c in self.spec.columns if (c.shows, c.of) == ("share", column.of))
            of_paper = _number(self._printed(line.block, line.row, share))
            result, why = verdict.judge_share(shares, of_paper)
        values = minutes if column.shows == "minutes" else shares
        runs = derive.epoch_times(*place)
        measured = runs.groupby("results", sort=False).size()
        told = f"{measured.iloc[0]} epochs measured, their mean times {epochs}"
        if measured.iloc[0] >= epochs:
            told = f"{epochs} epochs measured"
        return Cell(
            fmean(values) if values else None,
            deviation=stdev(values) if len(values) > 1 else None,
            n=int(measured.clip(upper=epochs).sum()),
            verdict=result if values else NOT_RUN,
            why="; ".join(filter(None, [why, told])),
            sources=tuple(dict.fromkeys(runs.source)),
        )


def _number(printed: Value) -> float:
    return float(str(printed))


# ---- what only the CSV shows ---------------------------------------------------------------------


def _details(found: Accuracy, base: Accuracy | None, full: Accuracy | None) -> dict[str, Any]:
    """The checkpoint, its code and seeds, and how it compares with Pretrained and Full-FT."""
    first = found.tasks[0]
    commits = (str((task.provenance or {}).get("git_commit") or "") for task in found.tasks)
    details: dict[str, Any] = {
        "recipe": first.recipe,
        "trained_on": first.domain,
        "tasks": ";".join(dict.fromkeys(task.task for task in found.tasks)),
        "seeds": ";".join(map(str, found.by_seed)),
        "by_seed": ";".join(f"{one:.2f}" for one in found.by_seed.values()),
        "code": ";".join(dict.fromkeys(one[:12] for one in commits if one)),
        "kept_percent": found.kept_percent,
        "weight_bytes": round(1e6 * found.megabytes),
        "bytes_percent": found.bytes_percent,
        "chance": found.chance,
        "share_of_full_ft": full and found.share_of(full),
        "share_above_chance": full and found.share_of(full, found.chance),
        "answer_loss": found.answer_loss,
        **found.free,
    }
    for name, other in {"minus_pretrained": base, "minus_full_ft": full}.items():
        if other and other.tasks != found.tasks:
            gap = found.minus(other)
            details |= {name: gap.points, f"{name}_low": gap.low, f"{name}_high": gap.high}
    return details


def _recorded(timing: Any) -> dict[str, Any]:
    """How a model was timed, and what its sizes predict."""
    content, expected = timing.content, predicted(timing.content)
    names = ("threads", "linear_kernel", "precision", "kernel", "achieved_bytes_per_second")
    return {
        "recipe": timing.recipe,
        "layers": "+".join(content.get("layers", [])),
        **{name: content[name] for name in names if name in content},
        "units_kept": timing.units_kept,
        "units_total": timing.units_total,
        **{f"bytes_{part}": size for part, size in content["bytes"].items()},
        "predicted_decode": expected.get("predicted_speedup"),
        "predicted_prefill": expected.get("predicted_prefill_speedup"),
    }
