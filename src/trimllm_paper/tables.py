"""All tables as data: columns, rows and notes.

`table(key, context)` gives a table's specification for a configuration; `cells.py` fills it,
`render.py` writes it, `table_inputs.py` says what has to be evaluated for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.names import PAPER_CRITERIA, RULES
from trimllm.exporting.formats import FORMATS
from trimllm_paper import published
from trimllm_paper.context import FULL, Context, Domain, Model
from trimllm_paper.recipe import FULL_FT, PRETRAINED, SPARSE_FT
from trimllm_paper.specification import Column, Row, Table

CRITERIA = {
    **{"calibration": "Calibration scan", "activation_norm": "Activation norm"},
    **{"both": "Both", "likelihood": "Likelihood"},
}
COMPRESSORS = {
    **{"llm_pruner": "LLM-Pruner", "sparsegpt_2_4": "SparseGPT (2:4)", "llm_int8": "LLM.int8()"},
    **{"gptq_int4": "GPTQ-int4", "awq_int4": "AWQ-int4"},
}
REFERENCE_KEPT = 40
"""Percent of the sublayers that the paper's TrimLLM keeps in Table 1."""

# ---- what several tables have --------------------------------------------------------------------

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
    "Final Mem is the share of sublayers kept, as the paper counts, and of compressed models the "
    "share of bytes. True bytes are the weights in percent of the pretrained model's. Both are "
    "means over domains (smallest to largest), whose checkpoints drop different sublayers."
)
DECODE = Column("throughput", "decode (tokens/s)", "speed", "decode", 2)
OVER_FULL = Column("speedup", "over full", "speed", "speedup", 2, "×", printed="throughput")
OF_DECODE = Column("share_decode", "of predicted", "speed", "share_decode", 0, "%")
OF_PREFILL = Column("share_prefill", "prefill, of predicted", "speed", "share_prefill", 0, "%")
MEM = Column("mem", "Mem", "speed", "mem", 0, "%")
UNIT_BYTES = Column("unit_bytes", "sublayer bytes", "speed", "unit_bytes_percent", 1, "%")
PREFILL = Column("prefill", "prefill (tokens/s)", "speed", "prefill", 0)
ABOUT_SPEED = "Over full: median over rounds of full model's over row's time, measured in turn."
ABOUT_PREDICTED = (
    "Of predicted: over full, in percent of what the bytes read by a step, or the operations of a "
    "prompt, predict."
)
SMALLEST = (
    "Accuracy and Final Mem of a criterion are those of the chain's smallest checkpoint that keeps "
    "more than 90% of Full-FT's accuracy (Algorithm 1, C_a), chosen {by}. None: no trimmed "
    "checkpoint does. Of several domains Final Mem is that of the one that compresses least."
)
"""`cells.py` says by which documents."""


def _trimllm(names: Iterable[str], kept: float, end: str = "", **more: Any) -> Row:
    """TrimLLM at a kept fraction, of the first of some chains or patterns that was measured."""
    label = f"TrimLLM ({kept:g}%)"
    if compressor := more.get("compressor"):
        label, end = f"{label} + {COMPRESSORS[compressor]}", f"_{compressor}"
    return Row(f"trimllm_{kept:g}{end}", label, names=tuple(names), kept=kept, **more)


def _compressed(*names: str, section: str = "") -> list[Row]:
    return [Row(n, COMPRESSORS[n], f"{FULL_FT}+{n}", section=section) for n in names]


def _domains(key: str, domains: Iterable[Domain], which: str) -> tuple[Column, ...]:
    """Columns of accuracy, the paper's first: `configured` domains, the paper's `published` ones
    (without tasks where they are not configured), or those `shared` by both."""
    paper = [name for name in published.table(key).columns if name in published.DOMAINS]
    ours = {domain.name: domain for domain in domains}
    names = paper if which == "published" else [name for name in paper if name in ours]
    names = [*names, *sorted(ours.keys() - {*paper})] if which == "configured" else names
    absent = {n: Domain(name=n, label=published.DOMAINS[n], tasks=()) for n in paper}
    columns = ((absent | ours)[name] for name in names)
    return tuple(Column(one.name, one.label, domain=one) for one in columns)


def _models(key: str, context: Context, which: str) -> tuple[Model, ...]:
    """Models without those whose numbers stand in another table of the paper."""
    known = [block for block in published.table(key).blocks if block in published.LABELS]
    models = context.select(which)
    return tuple(m for m in models if not known or m.published in (None, *known))


def table1(context: Context) -> Table:
    """Decoding throughput, on every machine that timed it."""
    names = (*context.chains, *context.patterns)
    kept = sorted(
        {*context.trim.kept_percent, *context.throughput.kept_percent, REFERENCE_KEPT}, reverse=True
    )
    keys = {"sparsegpt": "sparsegpt_2_4"} | {n: n for n in ("llm_int8", "gptq_int4", "awq_int4")}
    trim_over = Column("trim_over", "TrimLLM over it", "speed", "trim_over", 2, "×")
    columns = (
        *(DECODE, replace(OVER_FULL, over="fp16")),
        Column("compiled", "compiled (tokens/s)", "speed", "compiled", 2),
        Column("compiled_speedup", "compiled, over full", "speed", "compiled_speedup", 2, "×"),
        *(OF_DECODE, OF_PREFILL, replace(trim_over, printed="throughput", under="trimllm")),
        *(MEM, UNIT_BYTES),
        Column("share", "of copy bandwidth", "speed", "share_of_copy", 0, "%"),
        PREFILL,
        Column("share_of_matrix", "prefill, of matrix rate", "speed", "share_of_matrix", 0, "%"),
        Column("peak", "peak memory (MB)", "speed", "peak_megabytes", 0),
    )
    rows = (
        Row("fp16", "16-bit", "full"),
        *(Row(key, COMPRESSORS[name], f"full+{name}") for key, name in keys.items()),
        *(_trimllm(names, k, paper="trimllm" if k == REFERENCE_KEPT else "") for k in kept),
        *(_trimllm(names, k, compressor=c) for k in kept[:1] for c in context.throughput.composed),
    )
    notes = (
        f"{ABOUT_SPEED} {ABOUT_PREDICTED} TrimLLM over it: TrimLLM ({REFERENCE_KEPT}%) over the "
        "row, both relative to the full model.",
        "Mem: share of sublayers kept, or of all bytes for compressed models. Of copy bandwidth: "
        "bytes read a second over those of a plain copy, which also writes, so more than 100% is "
        "possible. Of matrix rate: operations a second over those of one large product.",
    )
    return Table(
        "table1",
        "Table 1: decoding throughput at batch 1, ours and the paper's",
        *(context.select("main"), columns, rows, notes),
        header=("Batch 1, greedy, end of text ignored; the paper: length 512, 16-bit floats",),
        blocks="machine",
        gpus={"a100": "A100", "v100": "V100", "rtx3090": "RTX3090"},
    )


def table_engines(context: Context) -> Table:
    """Full and trimmed models in each engine, format and batch size."""
    columns = (
        *(replace(DECODE, key="decode", digits=1), OVER_FULL, OF_DECODE, PREFILL),
        Column("prefill_speedup", "prefill, over full", "speed", "prefill_speedup", 2, "×"),
        OF_PREFILL,
        Column("parity", "from transformers (nats)", "speed", "parity", 3),
        Column("weights", "weights (MB)", "speed", "weights_megabytes"),
    )
    rows = []
    for name, batch in product(context.made_formats, context.engines.batches):
        section = f"{FORMATS[name]}, {name}, batch {batch}"
        kept = context.engines.kept_percent or context.trim.kept_percent
        of_format = [Row("full", FULL, FULL_FT), *(_trimllm(context.chains[:1], k) for k in kept)]
        where: dict[str, Any] = {"format": name, "batch": batch, "section": section}
        rows += [replace(row, key=f"{name}_{batch}_{row.key}", **where) for row in of_format]
    notes = (
        f"{ABOUT_SPEED} Both by the same engine, format and batch size. {ABOUT_PREDICTED} From "
        "transformers: mean difference of log-probabilities when the export was verified.",
        "Not run: the engine is not installed (llama.cpp comes with the wheel xllamacpp, vLLM by "
        "`make vllm-env`) or was not measured. Batches in llama.cpp are parallel sequences.",
    )
    return Table(
        "table_engines",
        "Table E: full and trimmed models in transformers, llama.cpp and vLLM",
        *(context.select("main"), columns, tuple(rows), notes),
        header=("Each engine by its own generation, cache and scheduler; end of text ignored",),
        blocks="engine",
    )


def table7(context: Context) -> Table:
    """Accuracy and throughput of compression on top of trimming."""
    names, kept = (*context.chains, *context.patterns), next(iter(context.trim.kept_percent), 0.0)
    trimmed, over_it = Row("trimllm", "TrimLLM", names=names, kept=kept), "trimllm_{}"
    compressors = ("sparsegpt_2_4", "awq_int4", "gptq_int4")
    composed = (
        replace(trimmed, key=over_it.format(c), label=f"TrimLLM + {COMPRESSORS[c]}", compressor=c)
        for c in compressors
    )
    columns = (
        *(*_domains("table7", context.domains, "shared"), DECODE),
        replace(OVER_FULL, over="full_ft"),
        *(replace(MEM, label="Final Mem", printed="final_mem"), UNIT_BYTES),
    )
    notes = (
        f"TrimLLM rows keep {kept:g}% of the sublayers. Untrimmed rows without a compressor share "
        f"one measurement of throughput. {ABOUT_SPEED}",
        "Final Mem: share of sublayers kept, or of all bytes for compressed models. Sublayer "
        "bytes: in percent of the full model's, without embeddings and head.",
    )
    drawn = product(context.chains, context.trim.kept_percent)  # in Figure 2
    return Table(
        "table7",
        "Table 7: compression on top of TrimLLM, ours and the paper's",
        *(_models("table7", context, "main"), columns),
        (*TUNED, *_compressed(*compressors), trimmed, *composed),
        notes,
        blocks="both",
        also=(
            *_compressed("llm_int8"),
            *(Row(f"{name}_{k:g}", name, names=(name,), kept=k) for name, k in drawn),
        ),
        gpus={"a100": "A100"},
    )


def _specialized(
    context: Context, key: str, family: str, compressors: tuple[str, ...], kept: tuple[float, ...]
) -> Table:
    """Tables 2 and 8: models in their own domains."""
    models = _models(key, context, family)
    rows = [*TUNED, *_compressed(*compressors)]
    rows += [
        _trimllm(context.paper_chain, k) for k in dict.fromkeys((*kept, *context.trim.kept_percent))
    ]
    for name, k in product(context.other_chains, context.trim.kept_percent):
        section = f"{OURS}: recipe {name}, criterion {context.recipes[name].criterion}"
        rows.append(_trimllm([name], k, f"_{name}", section=section))
    more = [c for c in COMPRESSORS if c in context.compress.methods and c not in compressors]
    rows += _compressed(*more, section=f"{OURS}: compressors that its table does not have")
    # Without a model the table is the paper's alone, on its own data.
    domains = context.domains if models or key == "table2" else ()
    columns = _domains(key, domains, "configured" if key == "table2" else "published")
    lacking = "" if context.paper_chain else "; no recipe of this configuration has it"
    return Table(
        key,
        f"Table {key[-1]}: accuracy (%) of specialized models, ours and the paper's",
        *(models, (*columns, *SIZES), tuple(rows)),
        (
            ABOUT_SIZES,
            f"TrimLLM rows: criterion both (calibration scan, ties by activation norm){lacking}.",
        ),
        compared="llama-7b" if key == "table2" else "opt-1.3b",
    )


def table_a1(context: Context) -> Table:
    """Chains that differ by one key of the recipe."""
    first = "".join(context.chains[:1])
    domains = _domains("table_a1", context.trained("compared"), "configured")
    minus = (
        replace(one, key=f"{one.key}_minus", label=f"{one.label} − {first}", shows="difference")
        for one in domains
    )
    chains = product(context.chains, context.trim.kept_percent)
    rows = (Row(f"{n}_{k:g}", f"{n} ({k:g}%)", names=(n,), kept=k) for n, k in chains)
    notes = (
        f"Keys in which another recipe differs from {first}: {context.switched}.",
        f"− {first}: points over {first} at the same kept fraction, over the seeds that both have, "
        f"paired by document. {ABOUT_SIZES}",
    )
    return Table(
        "table_a1",
        "Table A1: accuracy (%) of chains that differ by one key of the recipe",
        *(context.select("compared"), (*domains, *minus, *SIZES), (*TUNED[:2], *rows), notes),
    )


def _by_criterion(context: Context, ratio: float, section: str = "") -> list[Row]:
    """The smallest checkpoint above the bar by each criterion; the paper's criteria come first."""
    rows = []
    for criterion in sorted(context.tables.criteria, key=lambda one: one not in PAPER_CRITERIA):
        ours = "" if criterion in PAPER_CRITERIA else OURS
        where = "; ".join(filter(None, [section, ours]))
        label, names = CRITERIA.get(criterion, criterion), (context.variant(criterion, ratio),)
        rows.append(Row(criterion, label, names=names, smallest=True, section=where))
    return rows


def table3(context: Context) -> Table:
    """Criteria, and half of the blocks dropped at once by a rule."""
    ratio = context.main.ratio
    criteria = _by_criterion(context, ratio)
    section = "ours: every criterion at 50% of the sublayers, as the rules"
    half: dict[str, Any] = {"kept": 50, "smallest": False, "evaluate": False, "section": section}
    rows = (
        *(*TUNED, *(row for row in criteria if not row.section)),
        *(Row(f"{r}_50", f"{r.capitalize()} 50%", names=(r,), kept=50) for r in RULES),
        *(row for row in criteria if row.section),
        *(replace(r, key=f"{r.key}_50", label=f"{r.label} (50%)", **half) for r in criteria),
    )
    notes = (
        SMALLEST,
        "Random, top and bottom: half of the blocks are dropped at once from the pretrained model, "
        "which is then trained for at most as many passes over as many documents as the chains "
        "take to half of the sublayers.",
    )
    columns = (*_domains("table3", context.trained("compared"), "published"), *SIZES[:2])
    title = f"Table 3: accuracy (%) by criterion and rule, r = {ratio:g}"
    return Table("table3", title, _models("table3", context, "compared"), columns, rows, notes)


def table6(context: Context) -> Table:
    """Criteria by sparse update ratio."""
    rows = []
    for ratio in sorted(context.tables.ratios, reverse=True):
        fraction = str(Fraction(ratio).limit_denominator(1000))
        block = "r_" + fraction.replace("/", "_")
        of_ratio = _by_criterion(context, ratio, f"r = {fraction}")
        rows += [replace(row, key=f"{block}/{row.key}") for row in of_ratio]
    columns = (*_domains("table6", context.trained("compared"), "published"), *SIZES[:2])
    return Table(
        "table6",
        "Table 6: accuracy (%) by criterion and sparse update ratio r",
        *(_models("table6", context, "compared"), columns, tuple(rows)),
        (SMALLEST, f"Pretrained and {FULL} stand in Table 3."),
        also=TUNED[:2],
        baselines="table3",
    )


def _cross(context: Context, key: str, which: str, on: str, trained: tuple[str, ...]) -> Table:
    """Tables 4 and 5: models specialized on some domains, tested on those of the columns."""
    kept, models, rows = context.cross_kept, _models(key, context, "compared"), [TUNED[0]]
    groups = [("", "", context.paper_chain)]
    for name in context.other_chains:
        criterion = context.recipes[name].criterion
        whose = "the paper's criterion" if criterion in PAPER_CRITERIA else "not the paper's"
        section = f"ours: recipe {name}, criterion {criterion} ({whose})"
        groups.append((f"_{name}", section, (name,)))
    for (end, section, names), domain in product(groups, trained):
        label, key_of_row = f"{published.DOMAINS[domain]}-specialized", f"{domain}_specialized{end}"
        rows.append(Row(key_of_row, label, names=names, kept=kept, trained=domain, section=section))
    note = (
        "A row was trained, calibrated and trimmed on one domain; a column is what it was tested "
        "on. Verdicts compare the sign of the difference to the pretrained model with the paper's. "
        "Losses of a model that has lost its own domain are undecided."
    )
    return Table(
        key,
        f"Table {key[-1]}: accuracy (%) of models specialized at {kept:g}% on {on} domains",
        models,
        _domains(key, context.trained(which) if models else (), "published"),
        *(tuple(rows), (note,)),
        trained=trained,
    )


def table9(context: Context) -> Table:
    """Training time."""
    columns = []
    for epochs in (2, 4, 8):
        time = Column(f"minutes_{epochs}", f"{epochs} epochs", "time", "minutes", unit=" min")
        time = replace(time, epochs=epochs, printed=str(epochs), times=60)
        share = Column(f"share_{epochs}", f"of {FULL}", "time", "share", 0, "%", epochs=epochs)
        scans = replace(share, key=f"scans_{epochs}", label=f"scans, of {FULL}", of="scans")
        share = replace(share, printed=str(epochs), times=100, over="full_ft")
        columns += [time, share, scans]
    rows = [*TUNED[1:], Row("trimllm", "TrimLLM, Both", names=context.paper_chain)]
    for name in context.other_chains:
        criterion = context.recipes[name].criterion
        label, section = CRITERIA.get(criterion, criterion), f"{OURS}: recipe {name}"
        rows.append(Row(f"trimllm_{name}", f"TrimLLM, {label}", names=(name,), section=section))
    notes = (
        f"Minutes of training alone: seconds a token times the tokens of a pass of {FULL}. Recipes "
        f"trained one after another. {FULL} and Sparse-FT of more epochs than were run take their "
        "mean, as the CSV says. Scans: time of the scans between epochs in percent of "
        f"{FULL}'s training.",
        "A share agrees within 10 points, by its t interval over seeds; one seed leaves it "
        "undecided. n counts the epochs measured.",
    )
    timed = context.timed.label if context.domains else ""
    return Table(
        "table9",
        f"Table 9: minutes of training on {timed}, r = {context.main.ratio:g}",
        *(_models("table9", context, "compared"), tuple(columns), tuple(rows), notes),
        header=(
            "The paper's hours on two A100, in minutes. Only that machine can reproduce them: "
            f"verdicts compare shares of {FULL}'s time",
        ),
    )


FEW = ("sparsegpt_2_4", "llm_int8")
MOST = ("llm_pruner", *FEW, "awq_int4")
FIVE = published.table("table5").columns
TABLES: dict[str, Callable[[Context], Table]] = {
    "table1": table1,
    "table2": lambda one: _specialized(one, "table2", "main", MOST, (50, 40, 30)),
    "table3": table3,
    "table4": lambda one: _cross(one, "table4", "near", "near", ("medmcqa", "lexglue")),
    "table5": lambda one: _cross(one, "table5", "all", "other", FIVE),
    "table6": table6,
    "table7": table7,
    "table8": lambda one: _specialized(one, "table8", "opt", FEW, (50, 40)),
    "table9": table9,
    "table_engines": table_engines,
    "table_a1": table_a1,
}
"""Key -> function that makes the table's specification."""


def table(key: str, context: Context) -> Table:
    """A table's specification. Raises `UserError` for a table that does not exist."""
    if key not in TABLES:
        raise UserError(f"{key} is no table; there are {', '.join(TABLES)}")
    return TABLES[key](context)
