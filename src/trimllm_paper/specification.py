"""What a table is made of, and rows, columns and notes that several tables of `tables.py` have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from trimllm_paper.context import FULL, Domain, Model
from trimllm_paper.recipe import FULL_FT, PRETRAINED, SPARSE_FT


@dataclass(frozen=True)
class Column:
    """A column that `shows` accuracy or difference (to the first chain) on `domain`; size or speed:
    the figure `of` an accuracy or a timing; trim_over: TrimLLM over the row; time of training
    `epochs`, `of` minutes, share (of Full-FT's) or scans (likewise).

    `printed` is the paper's column, if not `key`. Its numbers are multiplied by `times` and divided
    by that of row `over`, or they divide that of row `under`.
    """

    key: str
    label: str
    shows: str = "accuracy"
    of: str = ""
    digits: int = 1
    unit: str = ""
    domain: Domain | None = None
    epochs: int = 0
    printed: str = ""
    times: float = 1
    over: str = ""
    under: str = ""

    @property
    def tested(self) -> str:
        """Name of the domain whose tests it shows."""
        return self.domain.name if self.domain else ""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of the domain."""
        return self.domain.tasks if self.domain else ()


@dataclass(frozen=True)
class Row:
    """A row: a fixed `recipe`, or of the `names` (chains, patterns, rules) the first measured, at
    `kept` percent of the sublayers, or the `smallest` above the bar; with `compressor`.

    `trained` is its domain, if not the column's; `paper` its row of the paper's table, if not `key`
    (BLOCK/ROW in Table 6). Without `evaluate` it shows what other rows evaluate.
    """

    key: str
    label: str
    recipe: str = ""
    names: tuple[str, ...] = ()
    kept: float = 0
    smallest: bool = False
    compressor: str | None = None
    trained: str = ""
    section: str = ""
    paper: str = ""
    format: str = ""
    batch: int = 1
    evaluate: bool = True


@dataclass(frozen=True)
class Table:
    """A table. `blocks`: one a `model`; one a `machine` and model; or one a machine and model that
    was timed in an `engine`."""

    key: str
    title: str
    models: tuple[Model, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    blocks: str = "model"
    also: tuple[Row, ...] = ()  # evaluated for a figure or a verdict and not shown
    compared: str = "llama-7b"  # the paper's model that stand-ins are shown beside
    baselines: str = ""  # the paper's table with its Pretrained and Full-FT, if not this one
    trained: tuple[str, ...] = ()  # domains of its models, where columns are other ones
    gpus: Mapping[str, str] = field(default_factory=dict)  # machine -> block of the paper's table

    def timings(self, frame: Any) -> Any:
        """The measurements of throughput that it shows."""
        return frame.engines if self.blocks == "engine" else frame.timings


# ---- what several tables have --------------------------------------------------------------------

CRITERIA = {
    "calibration": "Calibration scan",
    "activation_norm": "Activation norm",
    "both": "Both",
    "likelihood": "Likelihood",
}
COMPRESSORS = {
    "llm_pruner": "LLM-Pruner",
    "sparsegpt_2_4": "SparseGPT (2:4)",
    "llm_int8": "LLM.int8()",
    "gptq_int4": "GPTQ-int4",
    "awq_int4": "AWQ-int4",
}
REFERENCE_KEPT = CROSS_KEPT = 40
"""Percent of the sublayers that the paper's TrimLLM keeps in Table 1, and in Tables 4 and 5."""

OURS = "ours, not the paper's"
TUNED = (
    Row("pretrained", "Pretrained", PRETRAINED),
    Row("full_ft", FULL, FULL_FT),
    Row("sparse_ft", "Sparse-FT", SPARSE_FT),
)
SIZES = (
    Column("final_mem", "Final Mem", "size", "final", 0, "%"),
    Column("true_bytes", "true bytes", "size", "bytes_percent", 0, "%"),
    Column("megabytes", "true MB", "size", "megabytes"),
)
ABOUT_SIZES = (
    "Final Mem: share of sublayers kept, as the paper counts, or of bytes for compressed models. "
    "True bytes: weights in percent of the pretrained model's. Both are means over domains."
)
_SPEEDS = (
    Column("throughput", "decode (tokens/s)", "speed", "decode", 2),
    Column("decode", "decode (tokens/s)", "speed", "decode", 1),
    Column("speedup", "over full", "speed", "speedup", 2, "×", printed="throughput"),
    Column("compiled", "compiled (tokens/s)", "speed", "compiled", 2),
    Column("compiled_speedup", "compiled, over full", "speed", "compiled_speedup", 2, "×"),
    Column("share_decode", "of predicted", "speed", "share_decode", 0, "%"),
    Column("share_prefill", "prefill, of predicted", "speed", "share_prefill", 0, "%"),
    Column("mem", "Mem", "speed", "mem", 0, "%"),
    Column("unit_bytes", "sublayer bytes", "speed", "unit_bytes_percent", 1, "%"),
    Column("share", "of copy bandwidth", "speed", "share_of_copy", 0, "%"),
    Column("prefill", "prefill (tokens/s)", "speed", "prefill", 0),
    Column("prefill_speedup", "prefill, over full", "speed", "prefill_speedup", 2, "×"),
    Column("share_of_matrix", "prefill, of matrix rate", "speed", "share_of_matrix", 0, "%"),
    Column("peak", "peak memory (MB)", "speed", "peak_megabytes", 0),
    Column("parity", "from transformers (nats)", "speed", "parity", 3),
    Column("weights", "weights (MB)", "speed", "weights_megabytes"),
)


def speeds(keys: str, over: str = "") -> tuple[Column, ...]:
    """Columns of throughput; `over` is the full model's row in the paper's table."""
    columns = {column.key: column for column in _SPEEDS}
    columns["speedup"] = replace(columns["speedup"], over=over)
    return tuple(columns[key] for key in keys.split())


ABOUT_SPEED = (
    "Over full: the full model's time over the row's, measured in turn; median of rounds. "
    "Of predicted: in percent of the speedup that bytes (decode) or operations (prompt) allow."
)
ABOUT_MEM = (
    "Mem: share of sublayers kept, or of bytes for compressed models. Sublayer bytes: without "
    "embeddings and head, of the full model's; SparseGPT without a 2:4 kernel stores its zeros."
)
SMALLEST = (
    "A criterion's row is the smallest checkpoint of its chain that keeps more than 90% of "
    "Full-FT's accuracy (Algorithm 1, C_a), chosen by held-back documents, before annealing. None: "
    "no trimmed checkpoint does. Final Mem is that of the domain that compresses least."
)
