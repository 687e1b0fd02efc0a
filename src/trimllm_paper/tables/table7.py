"""Table 7: compression on top of TrimLLM: accuracy, throughput and size together.

A block belongs to a model on a machine. Accuracy comes from results/eval, throughput from
results/bench. A recipe that changes no shape is as fast as the full model, so the untrimmed rows
share one measurement. Shapes with random weights have a throughput and no accuracy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm_paper import published
from trimllm_paper.measured import Accuracy, Results
from trimllm_paper.published import Value, bound_percent
from trimllm_paper.tables.accuracy_cell import accuracy_cell
from trimllm_paper.tables.columns import seed_notes
from trimllm_paper.tables.notes import column_notes, provenance_notes, timing_notes
from trimllm_paper.tables.render import render, to_text
from trimllm_paper.tables.table import Block, Cell, Column, Row, Table
from trimllm_paper.tables.table1 import GPUS, OWN_MODEL, speed_cells
from trimllm_paper.tables.table2 import task_names
from trimllm_paper.timings import Timing, Timings
from trimllm_paper.verdict import NOT_RUN, Anchors

__all__ = ["build", "render", "to_text"]

PAPER = published.table("table7")
DOMAINS = PAPER.columns[:3]
PAPER_GPU = "a100"
SPEEDS = (
    Column("throughput", "decode (tokens/s)", short="tokens/s", digits=2, interval_digits=2),
    Column("speedup", "over full", digits=2, interval_digits=2, unit="×"),
    Column("mem", "Final Mem", short="Mem", digits=0, unit="%"),
    Column("unit_bytes", "unit bytes", digits=1, unit="%"),
)
UNTRIMMED = {
    "pretrained": ("Pretrained", "pretrained", None),
    "full_ft": ("Full-FT", "full_ft", None),
    "sparse_ft": ("Sparse-FT", "sparse_ft", None),
    "sparsegpt_2_4": ("SparseGPT (2:4)", "full_ft", "sparsegpt_2_4"),
    "awq_int4": ("AWQ-int4", "full_ft", "awq_int4"),
    "gptq_int4": ("GPTQ-int4", "full_ft", "gptq_int4"),
}
"""Row key -> label, recipe, compressor. GPTQ is ours: the paper's Table 7 does not have it."""
TRIMMED = {
    "trimllm": ("TrimLLM", None),
    "trimllm_sparsegpt_2_4": ("TrimLLM + SparseGPT (2:4)", "sparsegpt_2_4"),
    "trimllm_awq_int4": ("TrimLLM + AWQ-int4", "awq_int4"),
    "trimllm_gptq_int4": ("TrimLLM + GPTQ-int4", "gptq_int4"),
}
"""Row key -> label, compressor on top of the trimmed model."""


def build(
    evals: Iterable[str | Path],
    benchmarks: Iterable[str | Path],
    models: Sequence[Mapping[str, Any]],
    domains: Sequence[Mapping[str, Any]],
    *,
    kept_percent: float = 50,
    first: Sequence[str] = ("both",),
    ratio: float | None = None,
    drops_per_epoch: int | None = None,
    seed: int | None = None,
) -> Table:
    """Table 7 from files of results/eval and results/bench.

    `models`, `domains`, `ratio`, `drops_per_epoch`, `seed`: as in `table2.build`; of the domains
    those count that the paper's Table 7 has. `kept_percent`: of the trimmed rows. `first`: criteria
    and patterns, of which a block takes the first that was measured.
    """
    results, timings = Results(evals), Timings(benchmarks)
    domains = sorted(
        (domain for domain in domains if domain["name"] in DOMAINS),
        key=lambda domain: DOMAINS.index(domain["name"]),
    )
    run = {"ratio": ratio, "drops_per_epoch": drops_per_epoch}
    lines = _Lines(results, timings, domains, kept_percent, tuple(first), run)
    known = {str(model["name"]): model for model in models}
    timed = timings.groups()
    groups = [(hardware, name) for name in known for hardware, model in timed if model == name]
    groups += [(None, name) for name in known if name not in {model for _, model in timed}]
    groups += [(hardware, model) for hardware, model in timed if model not in known]
    blocks = [lines.block(hardware, name, known.get(name)) for hardware, name in groups]
    columns = tuple(
        Column(d["name"], d.get("label") or d["name"], stand_in=lines.stand_in(d)) for d in domains
    )
    told = seed_notes(results)
    apart = ("of the first seed's checkpoints alone",) if told and timings.timings else ()
    used = [m for m in results.measurements if m.domain in {d["name"] for d in domains}]
    return Table(
        key="table7",
        title="Table 7: compression on top of TrimLLM, ours and the paper's",
        columns=(*columns, *SPEEDS),
        blocks=tuple(blocks),
        header=_header(models, columns, kept_percent),
        notes=(
            *_notes(),
            *column_notes(columns, blocks),
            *(f"Accuracy: {note}" for note in (*told, *provenance_notes(used, seed))),
            *(f"Throughput: {note}" for note in (*apart, *timing_notes(timings.timings))),
        ),
        brackets="accuracy: 95% interval, throughput: quartiles",
    )


class _Lines:
    """Builds blocks, rows and cells."""

    def __init__(
        self,
        results: Results,
        timings: Timings,
        domains: Sequence[Mapping[str, Any]],
        kept: float,
        first: tuple[str, ...],
        run: Mapping[str, Any],
    ) -> None:
        self.results, self.timings, self.domains = results, timings, domains
        self.kept, self.first, self.run = kept, first, run

    def block(self, hardware: str | None, model: str, known: Mapping[str, Any] | None) -> Block:
        """All rows of a model, on a machine if it was timed on one."""
        is_own = OWN_MODEL in ((known or {}).get("published"), model.removeprefix("random-"))
        own_speed = is_own and hardware == PAPER_GPU
        rows = []
        for key, (label, recipe, compressor) in UNTRIMMED.items():
            timing = self.timings.full(hardware, model, compressor) if hardware else None
            whole = f"{recipe}+{compressor}" if compressor else recipe
            recipes = dict.fromkeys(self._names(), whole)
            rows.append(self._row(key, label, model, recipes, timing, known, own_speed))
        for key, (label, compressor) in TRIMMED.items():
            timing = self._trimmed(hardware, model, compressor)
            recipes = {name: self._recipe(model, name, compressor) for name in self._names()}
            rows.append(self._row(key, label, model, recipes, timing, known, own_speed))
        label = self._label(hardware, model, known)
        own = is_own and hardware in (None, PAPER_GPU)
        name = f"{published.LABELS[OWN_MODEL]}, {GPUS[PAPER_GPU]}"
        return Block(f"{hardware or '-'}/{model}", label, tuple(rows), name, is_paper=own)

    def stand_in(self, domain: Mapping[str, Any]) -> str | None:
        """What a column was really measured on."""
        said = [m.stand_in for m in self.results.measurements if m.domain == domain["name"]]
        names = dict.fromkeys(text for text in said if text)
        return "; ".join(names) or domain.get("stand_in")

    def _names(self) -> list[str]:
        return [domain["name"] for domain in self.domains]

    def _label(self, hardware: str | None, model: str, known: Mapping[str, Any] | None) -> str:
        label = (known or {}).get("label") or model
        if known is None and hardware:
            content = self.timings.of(hardware, model)[0].content
            label = f"{content.get('label') or model}, random weights"
        return f"{label}, {hardware}" if hardware else f"{label}, not timed"

    def _trimmed(self, hardware: str | None, model: str, compressor: str | None) -> Timing | None:
        if hardware is None:
            return None
        found = self.timings.trimmed(hardware, model, self.kept, compressor)
        return next((found[name] for name in (*self.first, *found) if name in found), None)

    def _recipe(self, model: str, domain: str, compressor: str | None) -> str | None:
        for criterion in self.first:
            found = self.results.trimmed(model, domain, criterion, self.kept, **self.run)
            if found:
                return f"{found}+{compressor}" if compressor else found
        return None

    def _row(
        self,
        key: str,
        label: str,
        model: str,
        recipes: Mapping[str, str | None],
        timing: Timing | None,
        known: Mapping[str, Any] | None,
        own_speed: bool,
    ) -> Row:
        cells = {
            domain["name"]: self._accuracy_cell(key, model, domain, recipes, known)
            for domain in self.domains
        }
        printed = _published(key)
        if timing is None:
            missing = {c.key: Cell(published=printed.get(c.key), verdict=NOT_RUN) for c in SPEEDS}
            return Row(key, label, cells | missing)
        speeds = speed_cells(timing, printed, own=own_speed)
        return Row(key, label, cells | {column.key: speeds[column.key] for column in SPEEDS})

    def _accuracy(
        self, model: str, domain: Mapping[str, Any], recipe: str | None
    ) -> Accuracy | None:
        if recipe is None:
            return None
        return self.results.accuracy(model, domain["name"], recipe, task_names(domain))

    def _accuracy_cell(
        self,
        key: str,
        model: str,
        domain: Mapping[str, Any],
        recipes: Mapping[str, str | None],
        known: Mapping[str, Any] | None,
    ) -> Cell:
        if known is None:
            return Cell()  # random weights answer nothing
        name = domain["name"]
        base, full = (self._accuracy(model, domain, recipe) for recipe in ("pretrained", "full_ft"))
        baselines = (PAPER.value(row, name) for row in ("pretrained", "full_ft"))
        own = known.get("published") == OWN_MODEL and not self.stand_in(domain)
        accuracy = self._accuracy(model, domain, recipes[name])
        anchors = Anchors(base, full, *baselines)
        return accuracy_cell(accuracy, key, PAPER.value(key, name), anchors, own=own)


def _published(row: str) -> dict[str, Value]:
    """The paper's throughput and size of a row, with the ratio to full fine-tuning."""
    speed = bound_percent(PAPER.value(row, "throughput"))
    if speed is None:
        return {}
    full = bound_percent(PAPER.value("full_ft", "throughput"))
    size = PAPER.value(row, "final_mem")
    return {"throughput": speed, "speedup": speed / full, "mem": size}


def _header(
    models: Sequence[Mapping[str, Any]], columns: Sequence[Column], kept: float
) -> tuple[str, ...]:
    lines = [f"TrimLLM rows keep {kept:g}% of the units"]
    stand_ins = [str(m.get("label") or m["name"]) for m in models if not m.get("published")]
    if stand_ins:
        name = published.LABELS[OWN_MODEL]
        lines.append(f"Stand-in model: {', '.join(stand_ins)} in place of {name}")
    lines += [
        f"Stand-in data, column {column.label}: {column.stand_in}"
        for column in columns
        if column.stand_in
    ]
    return tuple(lines)


def _notes() -> tuple[str, ...]:
    notes = [
        "Untrimmed rows without a compressor share one measurement of throughput: same shape, same "
        "speed",
        "over full: median over rounds of the full model's time over the row's, measured in turn",
        "Final Mem: units kept for trimmed models, share of all weight bytes for compressed ones; "
        "unit bytes: the units' share of the full model's, embeddings and head apart",
        "The paper: 8 times smaller and 4.5 times as fast with AWQ on top (188.7 over 42.3)",
    ]
    notes += [f"In the paper itself: {text}" for text in published.inconsistencies("table7")]
    return tuple(notes)
