"""Table 1: decoding throughput by hardware, of the full model, of compressed and of trimmed ones.

Every machine and model that was measured has a block; the paper's GPUs without a measurement of
LLaMA-7B follow with the paper's numbers alone. Throughput depends on the shape of a model and not
on its values, so random weights of LLaMA-7B's shape on one of the paper's GPUs are the paper's own
cell. Every other block is set beside the paper's A100, and the most that it can earn is `shape
only`: it is faster or slower than the full model, as in the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from trimllm_paper import published
from trimllm_paper.published import Value, bound_percent
from trimllm_paper.tables.notes import timing_notes
from trimllm_paper.tables.render import render, to_text
from trimllm_paper.tables.speeds import (
    expected,
    judge_relation,
    judge_speed,
    prediction_notes,
)
from trimllm_paper.tables.table import Block, Cell, Column, Row, Table
from trimllm_paper.timings import Timing, Timings
from trimllm_paper.verdict import NOT_RUN, judge_size

__all__ = ["build", "render", "to_text"]

PAPER = published.table("table1")
GPUS = MappingProxyType({"a100": "A100", "v100": "V100", "rtx3090": "RTX3090"})
"""Slug of a machine -> its block in the paper."""
COMPARED = "A100"
"""The paper's GPU that any other machine is shown beside."""
OWN_MODEL = "llama-7b"
PAPER_KEPT = 40
"""The kept fraction that Table 1 prints beside TrimLLM's throughput."""
STEADY = 1.25
"""Largest ratio between the copy rates of a machine's sessions that is no remark's worth."""
COLUMNS = (
    Column("throughput", "decode (tokens/s)", short="tokens/s", digits=2, interval_digits=2),
    Column("speedup", "over full", digits=2, interval_digits=2, unit="×"),
    Column("share_decode", "of predicted", digits=0, unit="%"),
    Column("share_prefill", "prefill, of predicted", digits=0, unit="%", terminal=False),
    Column("trim_over", "TrimLLM over it", short="TrimLLM over", digits=2, unit="×"),
    Column("mem", "Mem", digits=0, unit="%"),
    Column("unit_bytes", "unit bytes", digits=1, unit="%", terminal=False),
    Column("share", "of copy bandwidth", short="of copy", digits=0, unit="%"),
    Column("prefill", "prefill (tokens/s)", digits=0, terminal=False),
    Column("peak", "peak memory (MB)", digits=0, terminal=False),
)
FULL_ROWS = {
    "fp16": ("16-bit", None),
    "sparsegpt": ("SparseGPT (2:4)", "sparsegpt_2_4"),
    "llm_int8": ("LLM.int8()", "llm_int8"),
    "gptq_int4": ("GPTQ-int4", "gptq_int4"),
    "awq_int4": ("AWQ-int4", "awq_int4"),
}
"""The paper's row -> its label here and the compressor; 16-bit is bfloat16 on a CPU."""


def build(
    benchmarks: Iterable[str | Path],
    models: Sequence[Mapping[str, object]],
    *,
    kept_percent: Sequence[float] = (50, 40),
    composed: Sequence[str] = (),
    first: Sequence[str] = ("both",),
) -> Table:
    """Table 1 from files of results/bench, whichever machine they are from.

    `models`: name, label, and `published`, the key of the paper's model that this one *is*.
    `kept_percent`: of the rows of trimmed models. `composed`: compressors on top of the first one.
    `first`: criteria and patterns in the order in which a block's own TrimLLM rows take them; what
    is trimmed otherwise stands in a section of its own.
    """
    timings = Timings(benchmarks)
    known = {str(model["name"]): model for model in models}
    lines = _Lines(timings, tuple(kept_percent), tuple(composed), tuple(first))
    blocks = [lines.block(hw, model, known.get(model, {})) for hw, model in timings.groups()]
    shown = {block.published_as for block in blocks if block.is_paper}
    blocks += [
        _paper_block(gpu)
        for gpu in PAPER.blocks
        if f"{published.LABELS[OWN_MODEL]}, {gpu}" not in shown
    ]
    return Table(
        key="table1",
        title="Table 1: decoding throughput at batch 1, ours and the paper's",
        columns=COLUMNS,
        blocks=tuple(blocks),
        header=_header(timings),
        notes=(*_notes(lines), *timing_notes(timings.timings)),
        brackets="quartiles",
    )


class _Lines:
    """Builds blocks, rows and cells."""

    def __init__(
        self,
        timings: Timings,
        kept: tuple[float, ...],
        composed: tuple[str, ...],
        first: tuple[str, ...],
    ) -> None:
        self.timings, self.kept, self.composed, self.first = timings, kept, composed, first
        self.gains: dict[str, list[float]] = {}
        """Block label -> how many times as fast as each baseline TrimLLM is."""
        self.trimmed: dict[str, dict[str, Timing]] = {}
        """Block label -> trimmed models without compressor, by the row's label."""

    def block(self, hardware: str, model: str, known: Mapping[str, object]) -> Block:
        """All rows of a model on a machine."""
        is_own = OWN_MODEL in (known.get("published"), model.removeprefix("random-"))
        own = is_own and hardware in GPUS
        compared = GPUS[hardware] if own else COMPARED
        label = self._label(hardware, model, known)
        reference = self._first(self.timings.trimmed(hardware, model, PAPER_KEPT))
        rows = []
        for key, (name, compressor) in FULL_ROWS.items():
            timing = self.timings.full(hardware, model, compressor)
            rows.append(self._row(key, name, timing, key, compared, own, reference, label))
        sections: list[Row] = []
        cells = [(kept, None) for kept in self.kept]
        cells += [(kept, compressor) for kept in self.kept[:1] for compressor in self.composed]
        for kept, compressor in cells:
            found = self.timings.trimmed(hardware, model, kept, compressor)
            best = self._first(found)
            key = f"trimllm_{kept:g}" + (f"_{compressor}" if compressor else "")
            name = f"TrimLLM ({kept:g}%)" + (f" + {LABELS[compressor]}" if compressor else "")
            paper_row = "trimllm" if kept == PAPER_KEPT and not compressor else None
            rows.append(self._row(key, name, best, paper_row, compared, own, reference, label))
            for by, timing in sorted(found.items(), key=lambda one: one[1] is not best):
                if not compressor:
                    title = name if timing is best else f"{name} by {by}"
                    self.trimmed.setdefault(label, {})[title] = timing
                if timing is not best:
                    section = f"trimmed by {timing.content.get('pattern') or by}"
                    args = (timing, None, compared, own, reference, label, section)
                    sections.append(self._row(f"{key}_{by}", name, *args))
        name = f"{published.LABELS[OWN_MODEL]}, {compared}"
        sections.sort(key=lambda row: row.section or "")
        return Block(f"{hardware}/{model}", label, (*rows, *sections), name, is_paper=own)

    def _first(self, found: Mapping[str, Timing]) -> Timing | None:
        for name in (*self.first, *found):
            if name in found:
                return found[name]
        return None

    def _label(self, hardware: str, model: str, known: Mapping[str, object]) -> str:
        one = self.timings.of(hardware, model)[0].content
        name = known.get("label") or one.get("label") or model
        weights = ", random weights" if one.get("random_weights") else ""
        return f"{name}{weights}, {hardware}, {one.get('dtype', '?')}"

    def _row(
        self,
        key: str,
        label: str,
        timing: Timing | None,
        paper_row: str | None,
        gpu: str,
        own: bool,
        reference: Timing | None,
        block: str,
        section: str | None = None,
    ) -> Row:
        printed = _published(paper_row, gpu)
        if timing is None:
            cells = {
                column.key: Cell(published=printed.get(column.key), verdict=NOT_RUN)
                for column in COLUMNS
            }
            return Row(key, label, cells, section)
        cells = speed_cells(timing, printed, own=own)
        cells["trim_over"] = self._over(timing, reference, printed, own, block)
        return Row(key, label, cells, section)

    def _over(
        self,
        timing: Timing,
        reference: Timing | None,
        printed: Mapping[str, Value],
        own: bool,
        block: str,
    ) -> Cell:
        """How many times as fast as this row TrimLLM is, both measured against the full model."""
        value = printed.get("trim_over")
        if reference is None:
            return Cell(published=value, verdict=NOT_RUN)
        if timing.recipe not in ("full", "full_ft"):
            return Cell()
        gain = reference.speedup / timing.speedup
        self.gains.setdefault(block, []).append(gain)
        verdict, why = judge_speed(gain, value, own=own)
        if not own and value is not None:
            verdict, why = judge_relation(gain, None, value)
        return Cell(gain, value, verdict, why=why, sources=(reference.source, timing.source))


LABELS = {compressor: label for label, compressor in FULL_ROWS.values() if compressor}


def speed_cells(timing: Timing, printed: Mapping[str, Value], *, own: bool) -> dict[str, Cell]:
    """The cells of a measured row, but `trim_over`; `printed` by column, of the paper's row."""
    content, sources = timing.content, (timing.source,)
    predictions = expected(timing)
    median = timing.median("decode_tokens_per_second")
    verdict, why = judge_speed(median, printed.get("throughput"), own=own)
    ratio_verdict, ratio_why = judge_speed(timing.speedup, printed.get("speedup"), own=own)
    if not own and not timing.is_full:
        of_paper = printed.get("speedup")
        ratio_verdict, ratio_why = judge_relation(timing.speedup, timing.speedup_range, of_paper)
        verdict, why = ratio_verdict, ratio_why
    percent = timing.bytes_percent if timing.compressor else timing.kept_percent
    size_verdict, size_why = judge_size(percent, printed.get("mem"), own=own)
    details = {
        "recipe": timing.recipe,
        "compressor": timing.compressor,
        "hardware": timing.hardware,
        "threads": content.get("threads"),
        "layers": "+".join(content.get("layers", [])),
        "linear_kernel": content.get("linear_kernel"),
        "units_kept": content["units_kept"],
        "units_total": content["units_total"],
        "unit_bytes": content["bytes"]["units"],
        "embedding_bytes": content["bytes"]["embeddings"],
        "head_bytes": content["bytes"]["head"],
        "achieved_bytes_per_second": content["achieved_bytes_per_second"],
        "bandwidth_ratio": content.get("bandwidth_ratio"),
        "compiled_tokens_per_second": _compiled(content),
        **{f"predicted_{part}": speedup for part, (speedup, _) in predictions.items()},
    }

    def cell(value: float | None, spread: tuple[float, float] | None = None) -> Cell:
        return Cell(value, spread=spread, sources=sources)

    def share(part: str) -> Cell:
        return cell(predictions[part][1] if part in predictions else None)

    return {
        "throughput": Cell(
            median,
            printed.get("throughput"),
            verdict,
            spread=timing.range("decode_tokens_per_second"),
            why=why,
            sources=sources,
            details=details,
        ),
        "speedup": Cell(
            timing.speedup,
            printed.get("speedup"),
            ratio_verdict,
            spread=timing.speedup_range,
            why=ratio_why,
            sources=sources,
        ),
        "share_decode": share("decode"),
        "share_prefill": share("prefill"),
        "mem": Cell(percent, printed.get("mem"), size_verdict, why=size_why, sources=sources),
        "unit_bytes": cell(timing.unit_bytes_percent),
        "share": cell(100 * content["share_of_copy"]),
        "prefill": cell(
            timing.median("prefill_tokens_per_second"), timing.range("prefill_tokens_per_second")
        ),
        "peak": cell(content["peak_memory_bytes"] / 1e6),
    }


def _compiled(content: Mapping[str, object]) -> float | None:
    found = content.get("compiled")
    if not isinstance(found, Mapping) or "error" in found:
        return None
    return found["decode_tokens_per_second"]["median"]


def _published(row: str | None, gpu: str) -> dict[str, Value]:
    """The paper's row, with the ratios that follow from its numbers."""
    if row is None:
        return {}
    speed, full, trim = (
        bound_percent(PAPER.value(key, "throughput", gpu)) for key in (row, "fp16", "trimllm")
    )
    return {
        "throughput": speed,
        "speedup": speed / full,
        "trim_over": None if row == "trimllm" else trim / speed,
        "mem": PAPER.value(row, "mem", gpu),
    }


def _paper_block(gpu: str) -> Block:
    rows = []
    names = {key: label for key, (label, _) in FULL_ROWS.items()} | {"trimllm": "TrimLLM"}
    for key in PAPER.rows(gpu):
        printed = _published(key, gpu)
        cells = {c.key: Cell(published=printed.get(c.key), verdict=NOT_RUN) for c in COLUMNS}
        rows.append(Row(key, names[key], cells))
    name = f"{published.LABELS[OWN_MODEL]}, {gpu}"
    return Block(gpu, name, tuple(rows), name, is_paper=True)


def _header(timings: Timings) -> tuple[str, ...]:
    lines = ["Batch 1, greedy, end of text ignored; the paper: sequence length 512, 16-bit floats"]
    protocols = {
        (p["prompt"], p["generate"], p["repeats"])
        for one in timings.timings
        if (p := one.content.get("protocol"))
    }
    for prompt, generate, repeats in sorted(protocols):
        lines.append(
            f"Ours: {prompt} prompt and {generate} generated tokens; median and quartiles (in "
            f"brackets) of {repeats} rounds, each in turn with the full model, in fresh processes"
        )
    strangers = sorted({one.hardware for one in timings.timings if one.hardware not in GPUS})
    if strangers:
        names = ", ".join(strangers)
        lines.append(f"{names}: not the paper's hardware; set beside the paper's {COMPARED}")
    return tuple(lines)


def _notes(lines: _Lines) -> tuple[str, ...]:
    notes = [
        "over full: median over rounds of the full model's time over the row's, measured in turn",
        "of predicted: over full in percent of what the bytes that a token reads predict, the full "
        "model's over the row's; prefill: the same of the prompt, by its operations; above 100% "
        "where time goes with the number of units rather than their size",
        f"TrimLLM over it: TrimLLM ({PAPER_KEPT}%) over the row, both relative to the full model",
        "Mem: units kept for trimmed models, share of all weight bytes for compressed ones",
        "of copy bandwidth: (weights read + KV cache read) a token × tokens/s over what a plain "
        "copy reads and writes a second; a product only reads, so more than 100% is possible",
        "The paper: TrimLLM is 2.1 to 5.7 times as fast as the baselines on consumer GPUs (V100, "
        "RTX 3090), up to 3.1 times on A100",
    ]
    for block, gains in lines.gains.items():
        notes.append(f"{block}: {min(gains):.2f} to {max(gains):.2f} times")
    notes += _copy_notes(lines.timings.timings)
    for block, trimmed in lines.trimmed.items():
        notes += prediction_notes(block, trimmed)
    notes += [f"In the paper itself: {text}" for text in published.inconsistencies("table1")]
    return tuple(notes)


def _copy_notes(timings: Iterable[Timing]) -> list[str]:
    """Machines whose memory was not the same in all sessions: their shares do not compare."""
    rates: dict[str, list[float]] = {}
    for one in timings:
        if rate := one.content.get("copy_bytes_per_second"):
            rates.setdefault(one.hardware, []).append(rate / 1e9)
    return [
        f"{hardware}: a plain copy reached {min(found):.0f} to {max(found):.0f} GB/s, by session; "
        "compare shares of it within a session only (bandwidth_ratio of the CSV)"
        for hardware, found in rates.items()
        if max(found) > STEADY * min(found)
    ]
