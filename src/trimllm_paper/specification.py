"""What a table of `tables.py` is made of: rows and columns, and of which evaluations and timings.

The workflow is planned with this module.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trimllm.base.kept import drops_for
from trimllm.base.names import RULE_KEPT, RULES
from trimllm_paper.context import Context, Model
from trimllm_paper.recipe import FULL_FT, RANDOM, Recipe


@dataclass(frozen=True)
class Column:
    """A column that `shows` accuracy or difference (to the first chain) on `tasks` of the domain
    `tested`; size or speed: the figure `of` an accuracy or a timing; time of training `epochs`,
    `of` minutes, share (of Full-FT's) or scans (likewise)."""

    key: str
    label: str
    shows: str = "accuracy"
    of: str = ""
    digits: int = 1
    unit: str = ""
    tested: str = ""
    tasks: tuple[str, ...] = ()
    stand_in: str | None = None  # what the documents are, if they are not the paper's
    epochs: int = 0


@dataclass(frozen=True)
class Row:
    """A row: a fixed `recipe`, or of the `names` (chains, rules) the first measured, at
    `kept` percent of the sublayers, or the smallest that keeps more than `smallest` percent of
    Full-FT, of `every` epoch or of those that other rows show; compressed by `compressor`.

    `trained` is its domain, if not the column's. In Table 6 `key` is BLOCK/ROW of the paper's.
    """

    key: str
    label: str
    recipe: str = ""
    names: tuple[str, ...] = ()
    kept: float = 0
    smallest: float = 0
    every: bool = False
    compressor: str | None = None
    trained: str = ""
    section: str = ""
    format: str = ""
    batch: int = 1


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
    gpus: Mapping[str, str] = field(default_factory=dict)  # machine -> block of the paper's table

    def timings(self, frame: Any) -> Any:
        """The measurements of throughput that it shows."""
        shown = {"machine": frame.timings, "engine": frame.engines}
        return shown.get(self.blocks, frame.timings[:0])


SIZES = (
    Column("final_mem", "Final Mem", "size", "final", 0, "%"),
    Column("true_bytes", "true bytes", "size", "bytes_percent", 0, "%"),
    Column("megabytes", "true MB", "size", "megabytes"),
)
_SPEEDS = (
    Column("throughput", "decode (tokens/s)", "speed", "decode", 2),
    Column("decode", "decode (tokens/s)", "speed", "decode", 1),
    Column("speedup", "over full", "speed", "speedup", 2, "×"),
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


def speeds(keys: str) -> tuple[Column, ...]:
    """Columns of throughput."""
    columns = {column.key: column for column in _SPEEDS}
    return tuple(columns[key] for key in keys.split())


# ---- inputs --------------------------------------------------------------------------------------


def needed(spec: Table, context: Context) -> list[tuple[str, str, str, str]]:
    """Evaluations of a table of accuracy: (model, domain trained on, recipe, domain tested on)."""
    shown = [c.key for c in spec.columns if c.shows == "accuracy" and c.tasks]
    trained = {*shown} & {domain.name for domain in context.domains}
    evaluations = [
        (model.name, row.trained or tested, recipe, tested)
        for model in spec.models
        for tested in shown
        for row in (*spec.rows, *spec.also)
        if not row.trained or row.trained in trained
        for recipe in _recipes(row, model, spec, context)
    ]
    # Full-FT says, with the pretrained model, whether a specialized one has lost its own domain.
    home = {row.trained for row in spec.rows} & trained
    evaluations += [(model.name, d, FULL_FT, d) for model in spec.models for d in sorted(home)]
    return list(dict.fromkeys(evaluations))


def _recipes(row: Row, model: Model, spec: Table, context: Context) -> list[str]:
    """Recipes of a row, as far as a run of this configuration makes them."""
    available = set(context.compress.methods)
    if spec.blocks != "model":
        timed = context.throughput
        available &= {*timed.composed} if row.names else {*timed.compressors}
    if row.compressor and row.compressor not in available:
        return []
    name, drops = next(iter(row.names), ""), list[int]()
    if name in RULES:
        # An odd number of blocks has no half.
        drops = [model.units // 2] if name in context.tables.rules and model.units % 4 == 0 else []
    elif row.every:
        # All checkpoints among which the smallest above the bar is looked for.
        step = context.main.step
        last = max(_drops(model, step, context.trim.kept_percent), default=0)
        last = min([last, *filter(None, _drops(model, step, [RULE_KEPT]))])
        drops = [*range(0, last + 1, step)]
    elif name in context.chains and (row.trained or row.kept in context.trim.kept_percent):
        drops = _drops(model, context.recipes[name].step, [row.kept])
    recipes = [Recipe.trimmed(name, dropped, model.units) for dropped in drops]
    recipes += [Recipe.parse(row.recipe)] if row.recipe else []
    return [str(recipe.compressed(row.compressor)) for recipe in recipes]


def _drops(model: Model, step: int, kept_percent: Iterable[float]) -> list[int]:
    """Drops of a chain that stand for kept fractions, as far as it has such."""
    drops = (drops_for(percent, model.units, step) for percent in kept_percent)
    return [dropped for dropped in drops if dropped is not None]


def needed_timings(context: Context) -> list[tuple[str, str]]:
    """Measurements of throughput on a machine: (model or `random-SHAPE`, recipe)."""
    timed = context.throughput
    available = [c for c in timed.compressors if c in context.compress.methods]
    timings: list[tuple[str, Recipe]] = []
    for model in context.models if timed.checkpoints else ():
        kept = [
            Recipe.trimmed(name, dropped, model.units)
            for name in context.chains
            for dropped in _drops(model, context.recipes[name].step, context.trim.kept_percent)
        ]
        full = [Recipe(FULL_FT, compressor=c) for c in (None, *available)]
        composed = [kept[0].compressed(c) for c in available if c in timed.composed]
        timings += [(model.name, recipe) for recipe in (*full, *kept, *composed)]
    for shape in timed.shapes:
        trims = [Recipe.shape(kept) for kept in timed.kept_percent]
        full = [Recipe.shape().compressed(c) for c in (None, *timed.compressors)]
        composed = [trim.compressed(c) for trim in trims[:1] for c in timed.composed]
        timings += [(f"{RANDOM}{shape}", recipe) for recipe in (*full, *trims, *composed)]
    return [(name, str(recipe)) for name, recipe in timings]
