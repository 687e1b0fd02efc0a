"""One engine for all tables: results, layout and the paper's numbers become cells.

Rows and columns come from `layout.yaml` (`layout.py`), cells from `cells.py`; here they are put
together: a block for each model, the paper's own blocks, and the lines above and below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from trimllm_paper import layout, notes, published, timed
from trimllm_paper.cells import Cells, Subject
from trimllm_paper.context import BY_LORA, FULL, Context
from trimllm_paper.frames import Frame, where
from trimllm_paper.layout import Column, Row
from trimllm_paper.render import Block, Cell, Line, Table
from trimllm_paper.verdict import NOT_RUN

STAND_IN = (
    f"Stand-in for full fine-tuning: {BY_LORA}, adapters beside frozen weights, merged at the end. "
    f"What is measured against {FULL} elsewhere is measured against it here; no verdict is one on "
    f"full fine-tuning, and the paper's lines are of {FULL}"
)
"""What stands above tables whose yardstick adapters are."""


def build(table: str, frame: Frame, context: Context) -> Table:
    """A table of the layout.

    Args:
        table: its key, as "table2".
        frame: the results that it shows, and no others.
        context: what the configuration says.

    What was not measured is a `not run` cell. Raises `UserError` for an unknown table.
    """
    return _Grid(layout.read(table), frame, context).table()


class _Grid:
    """Puts one table together."""

    def __init__(self, form: layout.Layout, frame: Frame, context: Context) -> None:
        self.form, self.frame, self.context = form, frame, context
        self.timings = frame.engines if form.blocks == "engines" else frame.timings
        self.models = layout.models_of(form, context)
        self.rows = layout.rows_of(form, context)
        self.columns = [
            column.model_copy(update=self._own_words(column))
            for column in layout.columns_of(form, context)
            if not column.when or self.timings[column.speed].notna().any()
        ]
        self.domains = [column for column in self.columns if column.domain]
        self.cells = Cells(form, frame, context, self.rows, self.columns)
        self.compared = published.LABELS[form.compared]
        self.timed: dict[str, dict[str, Any]] = {}
        """Block label -> measurements of throughput, by the row's label."""

    def _own_words(self, column: Column) -> dict[str, Any]:
        """What a column is called over our numbers and the paper's, and whether it stands in."""
        label = column.label
        if (named := self.context.named(label)) != label:
            label = f"{named} (the paper's of {FULL})"
        if column.domain is None:
            return {"stand_in": None, "label": label}
        table = self.frame.evaluations
        asked = table[table.task.isin(column.domain.tasks)]
        if asked.token_f1.notna().any():
            label = f"{label} (F1)"
        # What its files say, or the domain does.
        stand_in = "; ".join(filter(None, dict.fromkeys(asked.stand_in)))
        return {"stand_in": stand_in or column.domain.stand_in, "label": label}

    def table(self) -> Table:
        """The whole table."""
        form, words = self.form, self._words()
        subjects = self._models() if form.blocks == "models" else self._timed()
        blocks: list[Block] = [self._block(subject) for subject in subjects]
        # A stand-in has the paper's numbers in its block, another machine has not.
        shown = {b.published_as for b in blocks if b.is_paper or form.blocks == "models"}
        blocks += [block for block in self._of_paper() if block.published_as not in shown]
        above, below = self._header(words), self._notes(words, blocks)
        title, columns = layout.worded(form.title, words, form), tuple(self.columns)
        lines = tuple(above), tuple(below)
        return Table(form.key, title, columns, tuple(blocks), *lines, brackets=form.brackets)

    # ---- blocks --------------------------------------------------------------------------------

    def _models(self) -> Iterator[Subject]:
        """A block for each model; a stand-in is set beside the model that the layout names."""
        paper = self.form.paper.blocks
        known = [b for b in paper if b in published.LABELS] or [self.form.compared]
        for model in self.models:
            own = model.published in known
            compared = str(model.published) if own else self.form.compared
            named = published.LABELS[compared] if paper else None
            shown = (model.name, model.label, (), named, own)
            own = own and not self.context.lora
            yield Subject(*shown, model.name, compared, own=own, known=model)

    def _timed(self) -> Iterator[Subject]:
        """A block for each machine and model, those of the configuration first if asked for."""
        form, timings = self.form, self.timings
        timed = sorted(set(zip(timings.hardware, timings.model, strict=True)))
        known = {model.name: model for model in self.models}
        groups: list[tuple[str | None, str]] = list(timed)
        if form.blocks == "both":
            untimed = [(None, name) for name in known if name not in {m for _, m in timed}]
            groups = [(h, name) for name in known for h, model in timed if model == name]
            groups += [*untimed, *((h, model) for h, model in timed if model not in known)]
        for hardware, name in groups:
            model = known.get(name)
            shape = form.compared in (model and model.published, name.removeprefix("random-"))
            own = shape and hardware in form.gpus
            gpu = form.gpus[str(hardware)] if own else next(iter(form.gpus.values()), "")
            first: dict[str, Any] = next(
                iter(where(timings, hardware=hardware, model=name).content), {}
            )
            label = model.label if model else first.get("label") or name
            weights = ", random weights" if first.get("random_weights") else ""
            words = {"model": label, "weights": weights, "hardware": hardware}
            titled = form.label.format(**words, dtype=first.get("dtype", "?"))
            yield Subject(
                f"{hardware or '-'}/{name}",
                titled if hardware else f"{label}, not timed",
                published_as=f"{self.compared}, {gpu}" if gpu else None,
                is_paper=own or (shape and hardware is None),
                name=name,
                compared=gpu,
                own=model is not None
                and model.published == form.compared
                and not self.context.lora,
                known=model,
                hardware=hardware,
                own_speed=own,
            )

    def _of_paper(self) -> Iterator[Block]:
        """The paper's own models or GPUs, with its numbers alone."""
        labels = {row.key: row.label for row in self.rows}
        labels |= {key: row["label"] for key, row in self.form.paper_rows.items()}
        named = {gpu: f"{self.compared}, {gpu}" for gpu in self.form.gpus.values()}
        named |= published.LABELS
        for block in self.form.paper.blocks:
            lines = []
            for key in self.form.paper.rows(block) if block in named else ():
                printed = {c.key: self.cells.printed(key, block, c) for c in self.columns}
                cells = {name: Cell(None, value, NOT_RUN) for name, value in printed.items()}
                lines.append(Line(key, labels.get(key, key), cells))
            if lines:
                yield Block(block, named[block], tuple(lines), named[block], is_paper=True)

    def _block(self, subject: Subject) -> Subject:
        lines: list[Line] = []
        others: list[Line] = []
        for row in self.rows:
            timing = self.cells.timing(subject, row)
            line = self.cells.line(subject, row, timing)
            if row.when != "measured" or any(line.cells[c.key].n for c in self.domains):
                lines.append(line)
            if timing is not None:
                self.timed.setdefault(subject.label, {})[row.label] = timing
            if self.form.others and row.kept:
                others += self._others(subject, row, timing)
        # Lines of the same section stand together.
        others.sort(key=lambda line: line.section or "")
        return replace(subject, rows=(*lines, *others))

    def _others(self, subject: Subject, row: Row, best: Any) -> Iterator[Line]:
        """What was trimmed by another chain or pattern than the one that stands in the row."""
        found = self.cells.trimmed(subject, row)
        for by in sorted(found, key=lambda name: name != best.name):
            timing = found[by]
            title = row.label if by == best.name else f"{row.label} by {by}"
            self.timed.setdefault(subject.label, {})[title] = timing
            if by != best.name:
                section = str(self.form.others).format(by=timing.content.get("pattern") or by)
                told = {"key": f"{row.key}_{by}", "section": section, "names": (by,)}
                yield self.cells.line(subject, row.model_copy(update=told), timing)

    # ---- above and below -----------------------------------------------------------------------

    def _words(self) -> dict[str, str]:
        """What titles, headers and notes may name."""
        context = self.context
        lists = {name: values[0] for name, values in context.lists().items() if values}
        lacking = "; no recipe of this configuration has it"
        return {
            "number": self.form.key.removeprefix("table"),
            "first_kept": f"{lists.get('first_kept', 0):g}",
            "cross_percent": f"{lists['cross_percent']:g}",
            "ratio": f"{context.main.ratio:g}",
            "main": context.main.name,
            "switched": context.switched,
            "rates": context.rates,
            "timed": context.timed.label if context.domains else "",
            "without_paper": "" if "paper_chain" in lists else lacking,
        }

    def _header(self, words: Mapping[str, str]) -> Iterator[str]:
        form, named = self.form, self.context.named
        yield from (named(layout.worded(text, words, form)) for text in form.header)
        if form.blocks in ("machines", "engines"):
            yield from self._protocols()
        stand_ins = ", ".join(model.label for model in self.models if not model.published)
        if form.stand_in and stand_ins:
            yield form.stand_in.format(models=stand_ins, compared=self.compared)
        if self.context.lora and form.blocks != "machines":
            yield STAND_IN
        for column in self.columns:
            if column.stand_in:
                yield f"Stand-in data, column {column.label}: {column.stand_in}"
        if any(column.epochs for column in self.columns):
            every = [*self.frame.trainings.provenance, *self.frame.epochs.provenance]
            yield from notes.several_machines(every)

    def _protocols(self) -> Iterator[str]:
        """How throughput was measured, and on which machines that are not the paper's."""
        timings = self.timings
        found = [content["protocol"] for content in timings.content if content.get("protocol")]
        keys = ("prompt", "generate", "repeats")
        apart = "" if timings.in_turn.all() else f", but where a row says “{timed.APART}”"
        for prompt, generate, repeats in sorted({tuple(one[k] for k in keys) for one in found}):
            yield (
                f"Ours: {prompt} prompt and {generate} generated tokens; median and quartiles (in "
                f"brackets) of {repeats} rounds, each in turn with the full model{apart}, in fresh "
                "processes"
            )
        strangers = ", ".join(sorted({*timings.hardware} - {*self.form.gpus}))
        for compared in [*self.form.gpus.values()][:1] if strangers else ():
            yield f"{strangers}: not the paper's hardware; set beside the paper's {compared}"

    def _notes(self, words: Mapping[str, str], blocks: Sequence[Block]) -> Iterator[str]:
        form, frame, named = self.form, self.frame, self.context.named
        yield from (named(layout.worded(text, words, form)) for text in form.notes)
        if known := published.contradictions(table=form.key):
            yield f"In the paper itself: {' '.join(one['text'] for one in known)}"
        if form.blocks in ("machines", "both"):
            yield from timed.glossary(
                [timing for found in self.timed.values() for timing in found.values()]
            )
        yield from notes.documents(self.domains, blocks)
        if self.domains:
            yield from notes.seeds(frame.evaluations)
            yield notes.sources(frame.evaluations, "evaluations")
        if form.blocks != "models":
            several = self.domains and frame.evaluations.seed.nunique() > 1
            what = "timings of the first seed" if several else "timings"
            yield notes.sources(self.timings, what)
        if any(column.epochs for column in self.columns):
            yield notes.sources(pd.concat([frame.trainings, frame.epochs]), "passes and epochs")
