"""One engine for all tables: results, layout and the paper's numbers become cells.

`build` takes rows and columns from the layout (`layout.py`), numbers from frames (`derive.py`), what
the paper prints from `published.py`, and asks `verdict.py` what the one says of the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from trimllm.throughput.predict import predicted
from trimllm_paper import derive, layout, published
from trimllm_paper.derive import Accuracy, Duration
from trimllm_paper.frame import Frame, rows, where
from trimllm_paper.layout import Column, Context, Model, Row
from trimllm_paper.notes import (
    mixed_runs,
    provenance_notes,
    seed_notes,
    timing_notes,
    training_notes,
)
from trimllm_paper.published import Value, bound_percent
from trimllm_paper.recipe import FULL, FULL_FT, PRETRAINED, Recipe
from trimllm_paper.render import Block, Cell, Line, Table
from trimllm_paper.verdict import (
    KEEPS,
    NOT_RUN,
    Anchors,
    Relation,
    gain,
    judge,
    judge_longest,
    judge_relation,
    judge_share,
    judge_size,
    judge_speed,
    relations,
)

ENOUGH = 90
"""Percent of its predicted speedup that a trimmed model should reach."""
STEADY = 1.25
"""Largest ratio between the copy rates of a machine's sessions that is no remark's worth."""


def build(table: str, frame: Frame, context: Context) -> Table:
    """A table of the layout from results.

    Args:
        table: its key, `table2`.
        frame: the results that it shows, and no others.
        context: the configuration.

    What was not measured is a `not run` cell. Raises `UserError` for a layout that says what does
    not exist.
    """
    return _Grid(layout.read(table, context), frame, context).table()


@dataclass(frozen=True)
class _Subject:
    """What a block is about: a model, on a machine where it was timed.

    `compared` is the paper's model or GPU beside it; `own` whether the model is the paper's,
    `own_speed` whether its shape and the machine are; `known` the model if it is configured.
    """

    key: str
    name: str
    label: str
    compared: str
    published_as: str | None
    own: bool
    is_paper: bool
    known: Model | None = None
    hardware: str | None = None
    own_speed: bool = False


class _Grid:
    """Builds the blocks, rows and cells of one table."""

    def __init__(self, form: layout.Layout, frame: Frame, context: Context) -> None:
        self.form, self.frame, self.context, self.paper = form, frame, context, form.paper
        self.models = layout.models_of(form, context)
        self.rows = layout.rows_of(form, context)
        self.columns = [
            column.model_copy(update={"stand_in": self._stand_in(column)})
            for column in layout.columns_of(form, context)
        ]
        self.domains = [column for column in self.columns if column.domain]
        self.trimmed: dict[str, dict[str, Any]] = {}
        """Block label -> trimmed models without compressor, by the row's label."""

    def _stand_in(self, column: Column) -> str | None:
        """What a column was really measured on: what its files say, or the domain does."""
        if column.domain is None:
            return None
        tasks, table = column.domain.tasks, self.frame.evaluations
        asked = where(table, domain=column.key) if tasks is None else table[table.task.isin(tasks)]
        return "; ".join(filter(None, dict.fromkeys(asked.stand_in))) or column.domain.stand_in

    def table(self) -> Table:
        """The whole table."""
        form = self.form
        subjects = self._models() if form.blocks == "models" else self._timed()
        blocks = [self._block(subject) for subject in subjects]
        shown = {block.published_as for block in blocks if block.is_paper}
        if form.blocks == "models":
            shown |= {block.published_as for block in blocks}
        blocks += [block for block in self._of_paper() if block.published_as not in shown]
        words = self._words()
        return Table(
            key=form.key,
            title=form.title.format_map(words),
            columns=tuple(self.columns),
            blocks=tuple(blocks),
            header=tuple(self._header(words)),
            notes=tuple(self._notes(words, blocks)),
            brackets=form.brackets,
        )

    # ---- blocks --------------------------------------------------------------------------------

    def _models(self) -> Iterator[_Subject]:
        """A block for each model; a stand-in is set beside `compared`."""
        known = [block for block in self.paper.blocks if block in published.LABELS]
        for model in self.models:
            own = model.published in (known or [self.form.compared])
            compared = model.published if own else self.form.compared
            named = published.LABELS[compared] if self.paper.blocks else None
            yield _Subject(
                model.name, model.name, model.label, compared, named, own, own, known=model
            )

    def _timed(self) -> Iterator[_Subject]:
        """A block for each machine and model; those of the configuration first, timed or not."""
        form, timings = self.form, self.frame.timings
        timed = sorted(set(zip(timings.hardware, timings.model, strict=True)))
        known = {model.name: model for model in self.models}
        groups: list[tuple[str | None, str]] = list(timed)
        if form.blocks == "both":
            groups = [(h, name) for name in known for h, model in timed if model == name]
            groups += [(None, name) for name in known if name not in {m for _, m in timed}]
            groups += [(h, model) for h, model in timed if model not in known]
        for hardware, name in groups:
            model = known.get(name)
            is_own = form.compared in (model and model.published, name.removeprefix("random-"))
            own_speed = is_own and hardware in form.gpus
            gpu = form.gpus[hardware] if own_speed else next(iter(form.gpus.values()))
            one = where(timings, hardware=hardware, model=name).content if hardware else []
            content = one.iloc[0] if len(one) else {}
            label = (model.label if model else "") or content.get("label") or name
            words = {
                "model": label,
                "weights": ", random weights" if content.get("random_weights") else "",
                "hardware": hardware,
                "dtype": content.get("dtype", "?"),
            }
            yield _Subject(
                key=f"{hardware or '-'}/{name}",
                name=name,
                label=form.label.format_map(words) if hardware else f"{label}, not timed",
                compared=gpu,
                published_as=f"{published.LABELS[form.compared]}, {gpu}",
                own=model is not None and model.published == form.compared,
                is_paper=own_speed or (is_own and hardware is None),
                known=model,
                hardware=hardware,
                own_speed=own_speed,
            )

    def _of_paper(self) -> Iterator[Block]:
        """The paper's own models or GPUs, with its numbers alone."""
        labels = {row.key: row.label for row in self.rows}
        labels |= {key: row["label"] for key, row in self.form.paper_rows.items()}
        own = published.LABELS[self.form.compared]
        for block in self.paper.blocks:
            gpu = block in self.form.gpus.values()
            if not gpu and block not in published.LABELS:
                continue
            name = f"{own}, {block}" if gpu else published.LABELS[block]
            lines = [
                Line(
                    key,
                    labels.get(key, key),
                    {
                        c.key: Cell(published=self._value(key, block, c), verdict=NOT_RUN)
                        for c in self.columns
                    },
                )
                for key in self.paper.rows(block)
            ]
            yield Block(block, name, tuple(lines), name, is_paper=True)

    def _block(self, subject: _Subject) -> Block:
        lines, others = [], []
        for row in self.rows:
            timing = self._timing(subject, row)
            line = self._line(subject, row, timing)
            if row.when != "measured" or any(line.cells[c.key].n for c in self.domains):
                lines.append(line)
            if self.form.others and row.kept:
                others += self._others(subject, row, timing)
        # Lines of the same section stand together.
        lines += sorted(others, key=lambda line: line.section or "")
        about = (subject.published_as, subject.is_paper)
        return Block(subject.key, subject.label, tuple(lines), *about)

    def _others(self, subject: _Subject, row: Row, best: Any) -> Iterator[Line]:
        """What was trimmed by another chain or pattern than the one in the row."""
        found = self._trimmed(subject, row)
        for by, timing in sorted(found.items(), key=lambda one: one[1] is not best):
            if not row.compressor:
                title = row.label if timing is best else f"{row.label} by {by}"
                self.trimmed.setdefault(subject.label, {})[title] = timing
            if timing is not best:
                name = timing.content.get("pattern") or by
                told = {"key": f"{row.key}_{by}", "section": self.form.others.format(by=name)}
                yield self._line(subject, row.model_copy(update=told), timing)

    def _line(self, subject: _Subject, row: Row, timing: Any) -> Line:
        found = {c.key: self._accuracy(subject, row, c) for c in self.domains}
        measured = [accuracy for accuracy in found.values() if accuracy]
        own_keys = {entry["row"]: key for key, entry in self.form.paper_rows.items()}
        block, _, key = row.key.rpartition("/")
        cells = {}
        for column in self.columns:
            printed = self._value(own_keys.get(key, key), block or subject.compared, column)
            if column.domain:
                cell = self._accuracy_cell(subject, row, column, found[column.key], printed)
            elif column.size:
                cell = self._size_cell(subject, column.size, measured, printed)
            elif column.speed:
                of_paper = self._ratios(own_keys.get(key, key), subject.compared).get("speedup")
                cell = self._speed_cell(subject, column.speed, timing, printed, of_paper)
            else:
                cell = self._time_cell(subject, row, column, printed)
            cells[column.key] = cell
        return Line(row.key, row.label, cells, row.section)

    # ---- what the paper prints -----------------------------------------------------------------

    def _value(self, row: str, block: str, column: Column) -> Value:
        """The paper's number, or one that follows from its numbers; None where it has none."""
        epochs = column.minutes or column.share
        if epochs:
            hours, whole = (self._printed(key, block, str(epochs)) for key in (row, FULL_FT))
            factor = 60 if column.minutes else 100 / whole if whole else None
            if hours is None:
                return None
            return 60 * hours if column.minutes else 100 * hours / whole
        if column.speed in ("speedup", "trim_over"):
            return self._ratios(row, block).get(column.speed)
        return self._printed(row, block, column.printed or column.key)

    def _printed(
        self, row: str, block: str, column: str, paper: published.PublishedTable | None = None
    ) -> Value:
        paper = paper or self.paper
        block = block if block in paper.blocks else ""
        return paper.value(row, column, block) if column in paper.columns else None

    def _ratios(self, row: str, block: str) -> dict[str, float]:
        """Of the paper's throughputs: over the full model, and TrimLLM's over the row's."""
        rates = {
            key: self._printed(name, block, "throughput")
            for key, name in {**self.form.ratios, "row": row}.items()
        }
        if rates["row"] is None:
            return {}
        found = {"speedup": rates["row"] / rates["full"]}
        if row != self.form.ratios.get("trimmed", row):
            found["trim_over"] = rates["trimmed"] / rates["row"]
        return found

    # ---- accuracy and size ---------------------------------------------------------------------

    def _of(
        self, subject: _Subject, recipe: str | None, column: Column, trained: str | None = None
    ) -> Accuracy | None:
        """A recipe on the tests of a column, trained on its domain or on another."""
        if recipe is None or subject.known is None:
            return None
        place = (self.frame, subject.name, trained or column.key)
        return derive.accuracy(*place, recipe, column.domain.tasks)

    def _accuracy(self, subject: _Subject, row: Row, column: Column) -> Accuracy | None:
        recipe = self._recipe(subject, row, column)
        return self._of(subject, recipe, column, row.trained)

    def _recipe(self, subject: _Subject, row: Row, column: Column) -> str | None:
        """What stands in a row: its recipe, or the first of its chains that was measured."""
        if row.recipe:
            return row.recipe
        for name in row.names:
            if row.smallest:
                found = self._smallest(subject, column, name)
            else:
                place = (self.frame, subject.name, row.trained or column.key)
                found = derive.nearest(*place, name, row.kept)
            if found:
                return str(Recipe.parse(found).compressed(row.compressor))
        return None

    def _smallest(self, subject: _Subject, column: Column, name: str) -> str | None:
        """The chain's smallest checkpoint that keeps enough (Algorithm 1, C_a).

        Where none does, the one before the first drop, which alone says that nothing can go.
        """
        place = (self.frame, subject.name, column.key)
        chain = derive.checkpoints(*place, name, column.domain.tasks)
        full = self._of(subject, FULL_FT, column)
        if full is None:
            return None
        enough = [one for _, one in chain if one.percent > KEEPS * full.percent]
        untrimmed = [one for dropped, one in chain if dropped == 0]
        return next((one.tasks[0].recipe for one in (*enough[::-1], *untrimmed)), None)

    def _accuracy_cell(
        self,
        subject: _Subject,
        row: Row,
        column: Column,
        accuracy: Accuracy | None,
        printed: Value,
    ) -> Cell:
        if subject.known is None:
            return Cell()  # random weights answer nothing
        if accuracy is None:
            return Cell(published=printed, verdict=NOT_RUN)
        base, full = (self._of(subject, recipe, column) for recipe in (PRETRAINED, FULL_FT))
        shape: Sequence[Relation] = ()
        if printed is not None and self.form.relation == "specialized":
            shape = self._specialized(subject, row, column, accuracy, printed)
        elif printed is not None:
            paper = published.table(self.form.baselines or self.form.key)
            names = (PRETRAINED, FULL_FT)
            theirs = (self._printed(n, subject.compared, column.key, paper) for n in names)
            shape = relations(row.key, accuracy, printed, Anchors(base, full, *theirs))
        own = subject.own and not column.stand_in
        verdict, why = judge(accuracy, printed, shape, own=own)
        if row.smallest and full and accuracy.percent <= KEEPS * full.percent:
            none = f"no checkpoint keeps more than {100 * KEEPS:.0f}% of Full-FT"
            why = "; ".join(filter(None, [none, why]))
        return Cell(
            measured=accuracy.percent,
            published=printed,
            verdict=verdict,
            n=accuracy.n,
            ci95=accuracy.ci95,
            deviation=accuracy.deviation,
            why=why,
            sources=accuracy.sources,
            details=_details(accuracy, base, full),
        )

    def _specialized(
        self, subject: _Subject, row: Row, column: Column, accuracy: Accuracy, printed: float
    ) -> list[Relation]:
        """Over the pretrained model; that itself is judged by what specializing gains on it."""
        if row.recipe != PRETRAINED:
            base = self._of(subject, PRETRAINED, column)
            theirs = self._printed(PRETRAINED, "", column.key)
            return [found for found in [gain(accuracy, base, printed, theirs)] if found]
        near = self.context.near.items() if self.form.trained == "near" else ()
        expert = {there: here for here, there in near}.get(column.key, column.key)
        key = f"{expert}_specialized"
        theirs = self._printed(key, "", column.key)
        other = self._accuracy(subject, next(r for r in self.rows if r.key == key), column)
        if other is None:
            return [Relation(None, f"the model specialized on {expert} was not run")]
        return [found for found in [gain(other, accuracy, theirs, printed)] if found]

    def _size_cell(
        self, subject: _Subject, size: str, found: Sequence[Accuracy], printed: Value
    ) -> Cell:
        """Mean, smallest and largest over the domains, each of which drops other units."""
        if not found:
            return Cell(published=printed, verdict=NOT_RUN)
        if size == "final":
            # The paper counts units, and of what is compressed the bytes.
            size = "bytes_percent" if found[0].tasks[0].compressor else "kept_percent"
        values = [getattr(accuracy, size) for accuracy in found]
        mean = sum(values) / len(values)
        verdict, why = judge_size(mean, printed, own=subject.own)
        sources = tuple(source for accuracy in found for source in accuracy.sources)
        spread = (min(values), max(values))
        return Cell(mean, printed, verdict, spread=spread, why=why, sources=sources)

    # ---- throughput ----------------------------------------------------------------------------

    def _timing(self, subject: _Subject, row: Row) -> Any:
        """A row's measurement: of the full model, or of the first chain or pattern measured."""
        if subject.hardware is None:
            return None
        if row.recipe is None:
            found = self._trimmed(subject, row)
            return next((found[name] for name in (*row.names, *found) if name in found), None)
        place = {"hardware": subject.hardware, "model": subject.name}
        compressor = Recipe.parse(row.recipe).compressor
        full = where(self.frame.timings, **place, compressor=compressor)
        return next((one for one in rows(full) if one.base in (FULL, FULL_FT)), None)

    def _trimmed(self, subject: _Subject, row: Row) -> dict[str, Any]:
        place = (self.frame, subject.hardware, subject.name)
        return derive.trimmed_timings(*place, row.kept, row.compressor)

    def _speed_cell(
        self, subject: _Subject, figure: str, timing: Any, printed: Value, of_paper: float | None
    ) -> Cell:
        """A figure of a measurement; `of_paper` is the paper's speedup of the row."""
        if figure == "trim_over":
            return self._over(subject, timing, printed)
        if timing is None:
            return Cell(published=printed, verdict=NOT_RUN)
        value, spread = _figures(timing)[figure]
        own, verdict, why = subject.own_speed, None, ""
        if figure in ("decode", "speedup") and not own and "baseline" in timing.content:
            speedup = _figures(timing)["speedup"]
            verdict, why = judge_relation(*speedup, of_paper)
        elif figure in ("decode", "speedup"):
            verdict, why = judge_speed(value, printed, own=own)
        elif figure == "mem":
            verdict, why = judge_size(value, printed, own=own)
        details = _timing_details(timing) if figure == "decode" else {}
        sources = (timing.source,)
        return Cell(value, printed, verdict, None, None, spread, None, why, sources, details)

    def _over(self, subject: _Subject, timing: Any, printed: Value) -> Cell:
        """How many times as fast as this row TrimLLM is, both measured against the full model."""
        kept = self.form.reference
        names = tuple(name for row in self.rows if row.kept == kept for name in row.names)
        reference = self._timing(subject, Row(key="", names=names, kept=kept))
        if timing is None or reference is None:
            return Cell(published=printed, verdict=NOT_RUN)
        if timing.base not in (FULL, FULL_FT):
            return Cell()
        gained = reference.speedup / timing.speedup
        verdict, why = judge_speed(gained, printed, own=subject.own_speed)
        if not subject.own_speed and printed is not None:
            verdict, why = judge_relation(gained, None, printed)
        sources = (reference.source, timing.source)
        return Cell(gained, printed, verdict, why=why, sources=sources)

    # ---- time of training ----------------------------------------------------------------------

    def _time_cell(self, subject: _Subject, row: Row, column: Column, printed: Value) -> Cell:
        epochs = column.minutes or column.share
        runs, full = self._durations(subject, row), self._durations(subject, Row(key="", recipe=FULL_FT))
        documents = full[0].documents if full else None
        ours, base = (_minutes(r, epochs, row.parts, documents) for r in (runs, full))
        base = _minutes(full, epochs, ("train",), documents)
        share = 100 * fmean(ours) / fmean(base) if ours and base else None
        verdict, why = None if ours else NOT_RUN, ""
        if ours and row.longer_than and printed is not None:
            others = [
                _minutes(self._durations(subject, other), epochs, other.parts, documents)
                for other in self.rows
                if other.key in row.longer_than
            ]
            means = [fmean(minutes) if minutes else None for minutes in others]
            verdict, why = judge_longest(fmean(ours), means)
        elif ours and printed is not None:
            of_paper = self._value(row.key, "", column.model_copy(update={"minutes": None, "share": epochs}))
            verdict, why = judge_share(share, of_paper)
        measured = fmean(ours) if ours else None
        each = ours
        if column.share:
            measured, verdict = share, verdict if share is not None else NOT_RUN
            # Both in the order of the seeds' folders.
            each = [100 * o / b for o, b in zip(ours, base, strict=False)] if len(ours) == len(base) else []
        return Cell(
            measured=measured,
            published=printed,
            verdict=verdict,
            n=sum(min(epochs, len(run.train)) for run in runs) if ours else None,
            deviation=stdev(each) if len(each) > 1 else None,
            why="; ".join(filter(None, [why, runs[0].told(epochs) if ours else ""])),
            sources=tuple(s for run in runs for s in run.sources) if ours else (),
        )

    def _durations(self, subject: _Subject, row: Row) -> list[Duration]:
        """Every run of a row, one a seed."""
        what = row.recipe or next(iter(row.names), None)
        if what is None:
            return []
        return derive.durations(self.frame, subject.name, self.context.timed.name, what)

    # ---- above and below -----------------------------------------------------------------------

    def _words(self) -> dict[str, str]:
        """What titles, headers and notes may name."""
        context = self.context
        lists = {key: values[0] for key, values in context.lists().items() if values}
        paper = "" if "paper_chain" in lists else "; no recipe of this configuration has it"
        return {
            "number": self.form.key.removeprefix("table"),
            "first_kept": f"{lists.get('first_kept', 0):g}",
            "cross_percent": f"{lists['cross_percent']:g}",
            "ratio": f"{context.main.ratio:g}",
            "timed": context.timed.label if context.domains else "",
            "without_paper": paper,
        }

    def _header(self, words: Mapping[str, str]) -> Iterator[str]:
        form = self.form
        yield from (text.format_map(words) for text in form.header)
        if form.blocks == "machines":
            yield from self._protocols()
        stand_ins = [model.label for model in self.models if not model.published]
        if form.stand_in and stand_ins:
            compared = published.LABELS[form.compared]
            yield form.stand_in.format(models=", ".join(stand_ins), compared=compared)
        for column in self.columns:
            if column.stand_in:
                yield f"Stand-in data, column {column.label}: {column.stand_in}"
        if any(column.minutes for column in self.columns):
            yield from mixed_runs(self.frame)

    def _protocols(self) -> Iterator[str]:
        """How throughput was measured, and on which machines that are not the paper's."""
        timings = self.frame.timings
        found = [content["protocol"] for content in timings.content if content.get("protocol")]
        for prompt, generate, repeats in sorted(
            {(one["prompt"], one["generate"], one["repeats"]) for one in found}
        ):
            yield (
                f"Ours: {prompt} prompt and {generate} generated tokens; median and quartiles (in "
                f"brackets) of {repeats} rounds, each in turn with the full model, in fresh "
                "processes"
            )
        strangers = ", ".join(sorted({*timings.hardware} - {*self.form.gpus}))
        if strangers:
            compared = next(iter(self.form.gpus.values()))
            yield f"{strangers}: not the paper's hardware; set beside the paper's {compared}"

    def _notes(self, words: Mapping[str, str], blocks: Sequence[Block]) -> Iterator[str]:
        form, frame, seed = self.form, self.frame, self.context.seed
        yield from (text.format_map(words) for text in form.notes)
        if form.blocks == "machines":
            yield from self._speed_notes(blocks)
        yield from (f"In the paper itself: {text}" for text in published.inconsistencies(form.key))
        yield from _documents(self.domains, blocks)
        shown = frame.evaluations
        if form.relation == "baselines":
            shown = shown[shown.domain.isin([column.key for column in self.domains])]
        accuracy, throughput = (), ()
        if self.domains:
            told = seed_notes(shown)
            accuracy = (*told, *provenance_notes(shown, seed))
        if form.blocks != "models":
            throughput = timing_notes(frame.timings)
        if accuracy and throughput:
            accuracy = (f"Accuracy: {note}" for note in accuracy)
            if told and len(frame.timings):
                throughput = ("of the first seed's checkpoints alone", *throughput)
            throughput = (f"Throughput: {note}" for note in throughput)
        yield from (*accuracy, *throughput)
        if any(column.minutes for column in self.columns):
            yield from training_notes(frame, seed)

    def _speed_notes(self, blocks: Sequence[Block]) -> Iterator[str]:
        """Ranges of TrimLLM's advantage, unsteady machines, and what is predicted."""
        over = [column.key for column in self.columns if column.speed == "trim_over"]
        for block in blocks:
            gains = [line.cells[key].measured for line in block.rows for key in over]
            gains = [value for value in gains if value is not None]
            if gains:
                yield f"{block.label}: {min(gains):.2f} to {max(gains):.2f} times"
        rates: dict[str, list[float]] = {}
        for one in rows(self.frame.timings):
            if rate := one.content.get("copy_bytes_per_second"):
                rates.setdefault(one.hardware, []).append(rate / 1e9)
        for hardware, found in rates.items():
            if max(found) > STEADY * min(found):
                yield (
                    f"{hardware}: a plain copy reached {min(found):.0f} to {max(found):.0f} GB/s, "
                    "by session; compare shares of it within a session only (bandwidth_ratio of "
                    "the CSV)"
                )
        for label, trimmed in self.trimmed.items():
            yield from _predictions(label, trimmed)


def _details(accuracy: Accuracy, base: Accuracy | None, full: Accuracy | None) -> dict[str, Any]:
    """What only the CSV shows: the checkpoint, its size, and the differences to the baselines."""
    first = accuracy.tasks[0]
    found: dict[str, Any] = {
        "recipe": first.recipe,
        "trained_on": first.domain,
        "tasks": ";".join(dict.fromkeys(task.task for task in accuracy.tasks)),
        "seeds": ";".join(map(str, accuracy.by_seed)),
        "kept_percent": accuracy.kept_percent,
        "weight_bytes": round(1e6 * accuracy.megabytes),
        "bytes_percent": accuracy.bytes_percent,
        "chance": accuracy.chance,
    }
    for name, other in (("minus_pretrained", base), ("minus_full_ft", full)):
        difference = accuracy.minus(other) if other and other.tasks != accuracy.tasks else None
        found[name] = difference.points if difference else None
        found[f"{name}_low"] = difference.low if difference else None
        found[f"{name}_high"] = difference.high if difference else None
        found[f"{name}_paired"] = str(difference.paired).lower() if difference else None
    return found


def _figures(timing: Any) -> dict[str, tuple[float | None, tuple[float, float] | None]]:
    """Figures of a measurement by the name that columns have, with their quartiles."""
    content, found = timing.content, predicted(timing.content)
    size = timing.bytes_percent if timing.compressor else timing.kept_percent
    full = "baseline" not in content
    shares = {
        part: 100 * found[name] if name in found else None
        for part, name in (
            ("share_decode", "share_of_predicted_speedup"),
            ("share_prefill", "share_of_predicted_prefill_speedup"),
        )
    }
    return {
        "decode": (timing.decode, (timing.decode_low, timing.decode_high)),
        "speedup": (timing.speedup, None if full else (timing.speedup_low, timing.speedup_high)),
        "prefill": (timing.prefill, (timing.prefill_low, timing.prefill_high)),
        "mem": (size, None),
        "unit_bytes": (timing.unit_bytes_percent, None),
        "share": (100 * content["share_of_copy"], None),
        "peak": (content["peak_memory_bytes"] / 1e6, None),
        **{part: (share, None) for part, share in shares.items()},
    }


def _timing_details(timing: Any) -> dict[str, Any]:
    """What only the CSV shows of a measurement."""
    content, found = timing.content, predicted(timing.content)
    compiled = content.get("compiled") or {}
    return {
        "recipe": str(Recipe.parse(timing.recipe).dense),
        "compressor": timing.compressor,
        "hardware": timing.hardware,
        "threads": content.get("threads"),
        "layers": "+".join(content.get("layers", [])),
        "linear_kernel": content.get("linear_kernel"),
        "units_kept": timing.units_kept,
        "units_total": timing.units_total,
        "unit_bytes": content["bytes"]["units"],
        "embedding_bytes": content["bytes"]["embeddings"],
        "head_bytes": content["bytes"]["head"],
        "achieved_bytes_per_second": content["achieved_bytes_per_second"],
        "bandwidth_ratio": content.get("bandwidth_ratio"),
        "compiled_tokens_per_second": compiled.get("decode_tokens_per_second", {}).get("median"),
        "predicted_decode": found.get("predicted_speedup"),
        "predicted_prefill": found.get("predicted_prefill_speedup"),
    }


def _predictions(label: str, trimmed: Mapping[str, Any]) -> Iterator[str]:
    """What is predicted of a block's trimmed models, by row, and which stay below `ENOUGH`."""
    names = {"decode": "speedup", "prefill": "prefill_speedup"}
    found = {
        row: {
            part: (told[f"predicted_{name}"], 100 * told[f"share_of_predicted_{name}"])
            for part, name in names.items()
            if f"predicted_{name}" in told
        }
        for row, timing in trimmed.items()
        for told in [predicted(timing.content)]
    }
    speedups = [
        f"{row} {' / '.join(f'{speedup:.2f}×' for speedup, _ in parts.values())}"
        for row, parts in found.items()
        if parts
    ]
    low = [
        f"{row} {part} ({percent:.0f}%)"
        for row, parts in found.items()
        for part, (_, percent) in parts.items()
        if percent < ENOUGH
    ]
    both = " / ".join(dict.fromkeys(part for parts in found.values() for part in parts))
    if speedups:
        yield f"{label}: predicted over full, {both}: {', '.join(speedups)}"
    if low:
        yield f"{label}: below {ENOUGH}% of the prediction: {', '.join(low)}"


def _documents(columns: Sequence[Column], blocks: Sequence[Block]) -> Iterator[str]:
    """One line: documents and, where known, chance level of every accuracy column."""
    parts = []
    for column in columns:
        cells = [line.cells[column.key] for block in blocks for line in block.rows]
        sizes = sorted({cell.n for cell in cells if cell.n})
        if not sizes:
            continue
        documents = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        chance = dict.fromkeys(cell.details["chance"] for cell in cells if cell.n)
        levels = " or ".join(f"{level:.1f}%" for level in chance if level is not None)
        parts.append(f"{column.label} {documents}" + (f" (chance {levels})" if levels else ""))
    if parts:
        yield f"Documents: {', '.join(parts)}"


def _minutes(
    runs: Iterable[Duration], epochs: int, parts: Sequence[str], documents: int | None
) -> list[float]:
    """Minutes of every run that got so far, its training scaled to so many documents an epoch."""
    found = []
    for run in runs:
        scale = {"train": (documents or run.documents) / run.documents, "scan": 1.0}
        each = [run.seconds(epochs, part) for part in parts]
        if None not in each:
            found.append(sum(scale[p] * v for p, v in zip(parts, each, strict=True)) / 60)
    return found
