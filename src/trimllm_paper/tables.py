"""All tables as data: columns, rows and notes.

`TABLES[key](context)` is a table's specification for a configuration; `cells.py` fills it,
`render.py` writes it, `specification.py` says what has to be evaluated for it.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import product
from typing import Any

from trimllm.base.names import PAPER_CRITERIA, RULES
from trimllm.exporting.formats import COMPRESSED, FORMATS
from trimllm_paper import published
from trimllm_paper.context import FULL, Context, Domain, Model
from trimllm_paper.recipe import FULL_FT, FULL_FT_CHOICES, HALF, PRETRAINED, SPARSE_FT, keys_of
from trimllm_paper.specification import SIZES, Column, Row, Table, speeds

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
PAPER_KEPT = 40
"""Percent of the sublayers that the paper's TrimLLM keeps in Tables 1, 4 and 5."""

OURS = "ours, not the paper's"
TUNED = (
    Row("pretrained", "Pretrained", PRETRAINED),
    Row("full_ft", FULL, FULL_FT),
    Row("sparse_ft", "Sparse-FT", SPARSE_FT),
)
ABOUT_SIZES = (
    "Final Mem: share of sublayers kept, as the paper counts, or of bytes for compressed models. "
    "True bytes: weights in percent of the pretrained model's. Both are means over domains."
)
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
    "Full-FT's accuracy (Algorithm 1, C_a), chosen by held-back documents. None: no trimmed "
    "checkpoint does. Final Mem is that of the domain that compresses least."
)
ABOVE = (
    "Above a share: chosen by held-back documents in each domain; Final Mem is that of the domain "
    "that compresses least. None: no row of the recipe keeps so much. Free answers have no "
    "accuracy held back, so that nothing is chosen."
)


def _trimllm(names: Iterable[str], kept: float, end: str = "", **more: Any) -> Row:
    """TrimLLM at a kept fraction, of the first of some chains that was measured."""
    label = f"TrimLLM ({kept:g}%)"
    if compressor := more.get("compressor"):
        label, end = f"{label} + {COMPRESSORS[compressor]}", f"_{compressor}"
    return Row(f"trimllm_{kept:g}{end}", label, names=tuple(names), kept=kept, **more)


def _compressed(*names: str, section: str = "") -> list[Row]:
    return [Row(n, COMPRESSORS[n], FULL_FT, compressor=n, section=section) for n in names]


def _domains(key: str, domains: Iterable[Domain], *, own: bool = False) -> tuple[Column, ...]:
    """Columns of the paper's domains, without tasks where they are not configured; of `own` tables
    those of the configured domains, the paper's first."""
    ours = {domain.name: domain for domain in domains}
    names = [name for name in published.table(key).columns if name in published.DOMAINS]
    if own:
        names = [*dict.fromkeys([*(name for name in names if name in ours), *sorted(ours)])]
    shown = (ours.get(n) or Domain(name=n, label=published.DOMAINS[n], tasks=()) for n in names)
    return tuple(
        Column(one.name, one.label, tested=one.name, tasks=one.tasks, stand_in=one.stand_in)
        for one in shown
    )


def _models(key: str, context: Context, which: str) -> tuple[Model, ...]:
    """Models without those whose numbers stand in another table of the paper."""
    known = [block for block in published.table(key).blocks if block in published.LABELS]
    models = context.select(which)
    return tuple(m for m in models if not known or m.published in (None, *known))


# ---- the tables ----------------------------------------------------------------------------------


def table1(context: Context) -> Table:
    """Decoding throughput, on every machine that timed it."""
    names, timed = (*context.chains, HALF), context.throughput
    kept = sorted({*context.trim.kept_percent, *timed.kept_percent, PAPER_KEPT}, reverse=True)
    compressors = ("sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4")
    return Table(
        "table1",
        "Table 1: decoding throughput at batch 1",
        context.select("main"),
        columns=(
            *speeds("throughput speedup compiled compiled_speedup share_decode share_prefill"),
            *speeds("mem unit_bytes share prefill prefill_speedup share_of_matrix peak"),
        ),
        rows=(
            Row("fp16", "not compressed", "full"),
            *(Row(name, COMPRESSORS[name], "full", compressor=name) for name in compressors),
            *(_trimllm(names, k) for k in kept),
            *(_trimllm(names, kept[0], compressor=one) for one in timed.composed),
        ),
        notes=(
            ABOUT_SPEED,
            f"{ABOUT_MEM} Of copy bandwidth: bytes read a second over those of a plain copy, which "
            "also writes. Of matrix rate: operations a second over those of one large product.",
        ),
        header=("Batch 1, greedy, end of text ignored; the paper: length 512, 16-bit floats",),
        blocks="machine",
        gpus={"a100": "A100", "v100": "V100", "rtx3090": "RTX3090"},
    )


def table_engines(context: Context) -> Table:
    """Full and trimmed models in each engine, format and batch size."""
    kept = context.engines.kept_percent or context.trim.kept_percent
    models = [Row("full", FULL, FULL_FT), *(_trimllm(context.chains[:1], k) for k in kept)]
    lacking = {*COMPRESSED} - {*context.compress.methods}
    formats = [name for name in context.engines.formats if name not in lacking]
    rows = []
    for name, batch, row in product(formats, context.engines.batches, models):
        key, place = f"{name}_{batch}_{row.key}", dict.fromkeys((FORMATS[name], name))
        section = f"{', '.join(place)}, batch {batch}"
        rows.append(replace(row, key=key, format=name, batch=batch, section=section))
    return Table(
        "table_engines",
        "Table E: full and trimmed models in transformers, llama.cpp and vLLM",
        context.select("main"),
        columns=speeds(
            "decode speedup share_decode prefill prefill_speedup share_prefill parity weights"
        ),
        rows=tuple(rows),
        notes=(
            f"{ABOUT_SPEED} From transformers: mean difference of log-probabilities when the "
            "export was verified. Batches in llama.cpp are parallel sequences.",
            "Not run: the engine is not installed (llama.cpp: wheel xllamacpp; vLLM: `make "
            "vllm-env`) or was not measured.",
        ),
        header=("Each engine by its own generation, cache and scheduler; end of text ignored",),
        blocks="engine",
    )


def table7(context: Context) -> Table:
    """Accuracy and throughput of compression on top of trimming."""
    kept = context.trim.kept_percent[0]
    trimmed = Row("trimllm", "TrimLLM", names=(*context.chains, HALF), kept=kept)
    compressors = ("sparsegpt_2_4", "awq_int4", "gptq_int4")
    composed = (
        replace(trimmed, key=f"trimllm_{c}", label=f"TrimLLM + {COMPRESSORS[c]}", compressor=c)
        for c in compressors
    )
    in_figure_2 = product(context.chains, context.trim.kept_percent)
    mem, unit_bytes = speeds("mem unit_bytes")
    return Table(
        "table7",
        "Table 7: compression on top of TrimLLM",
        _models("table7", context, "main"),
        columns=(
            *_domains("table7", context.domains),
            *speeds("throughput speedup"),
            *(replace(mem, label="Final Mem"), unit_bytes),
        ),
        rows=(*TUNED, *_compressed(*compressors), trimmed, *composed),
        notes=(
            f"TrimLLM rows keep {kept:g}% of the sublayers. Untrimmed rows without a compressor "
            f"share one measurement of throughput. {ABOUT_SPEED}",
            ABOUT_MEM,
        ),
        blocks="machine",
        also=(
            *_compressed("llm_int8"),
            *(Row(f"{name}_{k:g}", name, names=(name,), kept=k) for name, k in in_figure_2),
        ),
        gpus={"a100": "A100"},
    )


def _specialized(
    context: Context, key: str, family: str, compressors: tuple[str, ...], kept: tuple[float, ...]
) -> Table:
    """Tables 2 and 8: models in their own domains."""
    models, percents = _models(key, context, family), context.trim.kept_percent
    rows = [*TUNED, *_compressed(*compressors)]
    rows += [_trimllm(context.paper_chain, k) for k in sorted({*kept, *percents}, reverse=True)]
    for name, k in product(context.other_chains, sorted(percents, reverse=True)):
        section = f"{OURS}: recipe {name}, criterion {context.recipes[name].criterion}"
        rows.append(_trimllm([name], k, f"_{name}", section=section))
    if FULL_FT_CHOICES in {context.recipes[name].start for name in context.chains}:
        section = f"{OURS}: full fine-tuning, continued with the loss of all choices"
        rows.append(Row(FULL_FT_CHOICES, "Full-FT (choices)", FULL_FT_CHOICES, section=section))
    section = f"{OURS}: the smallest of a recipe's rows above a share of Full-FT"
    for name, bar in product((*context.paper_chain[:1], *context.other_chains), (95, 90)):
        row = f"above_{bar}_{name}", f"TrimLLM ({name}), above {bar}%"
        rows.append(Row(*row, names=(name,), smallest=bar, section=section))
    more = [c for c in COMPRESSORS if c in context.compress.methods and c not in compressors]
    rows += _compressed(*more, section=f"{OURS}: compressors that its table does not have")
    if key == "table2":
        columns = _domains(key, context.domains, own=True)
    else:  # without a model the table is the paper's alone, on its own data
        columns = _domains(key, context.domains if models else ())
    lacking = "" if context.paper_chain else "; no recipe of this configuration has it"
    criterion = f"criterion both (calibration scan, ties by activation norm){lacking}"
    return Table(
        key,
        f"Table {key[-1]}: accuracy (%) of specialized models",
        *(models, (*columns, *SIZES), tuple(rows)),
        notes=(ABOUT_SIZES, f"TrimLLM rows: {criterion}.", ABOVE),
        compared="llama-7b" if key == "table2" else "opt-1.3b",
    )


def table_a1(context: Context) -> Table:
    """Chains that differ by one key of the recipe."""
    first, *others = context.chains
    keys = {n: dict(keys_of(context.recipes[n].model_dump(mode="json"))) for n in context.chains}
    differences = []
    for name in others:
        changed = [one for one in keys[name].items() if one not in keys[first].items()]
        own = ", ".join(f"{key}: {json.dumps(value)}" for key, value in changed) or "nothing"
        differences.append(f"{name} {own}".replace('"', ""))
    domains = _domains("table_a1", context.trained("compared"), own=True)
    minus = (
        replace(one, key=f"{one.key}_minus", label=f"{one.label} − {first}", shows="difference")
        for one in domains
    )
    chains = product(context.chains, context.trim.kept_percent)
    rows = (Row(f"{n}_{k:g}", f"{n} ({k:g}%)", names=(n,), kept=k) for n, k in chains)
    return Table(
        "table_a1",
        "Table A1: accuracy (%) of chains that differ by one key of the recipe",
        *(context.select("compared"), (*domains, *minus, *SIZES), (*TUNED[:2], *rows)),
        notes=(
            f"Keys in which another recipe differs from {first}: {'; '.join(differences)}.",
            f"− {first}: points over {first} at the same kept fraction, over the seeds that both "
            f"have, paired by document. {ABOUT_SIZES}",
        ),
    )


def _by_criterion(context: Context, ratio: float, section: str = "") -> list[Row]:
    """The smallest checkpoint above the bar by each criterion; the paper's criteria come first."""
    rows, bar = [], 100 * published.KEEPS
    for criterion in sorted(context.tables.criteria, key=lambda one: one not in PAPER_CRITERIA):
        ours = "" if criterion in PAPER_CRITERIA else OURS
        where = "; ".join(filter(None, [section, ours]))
        label, names = CRITERIA.get(criterion, criterion), (context.variant(criterion, ratio),)
        rows.append(Row(criterion, label, names=names, smallest=bar, every=True, section=where))
    return rows


def table3(context: Context) -> Table:
    """Criteria, and half of the blocks dropped at once by a rule."""
    ratio = context.main.ratio
    criteria = _by_criterion(context, ratio)
    section = "ours: every criterion at 50% of the sublayers, as the rules"
    half: dict[str, Any] = {"kept": 50, "smallest": 0, "every": False, "section": section}
    return Table(
        "table3",
        f"Table 3: accuracy (%) by criterion and rule, r = {ratio:g}",
        _models("table3", context, "compared"),
        columns=(*_domains("table3", context.trained("compared")), *SIZES[:2]),
        rows=(
            *(*TUNED, *(row for row in criteria if not row.section)),
            *(Row(f"{r}_50", f"{r.capitalize()} 50%", names=(r,), kept=50) for r in RULES),
            *(row for row in criteria if row.section),
            *(replace(r, key=f"{r.key}_50", label=f"{r.label} (50%)", **half) for r in criteria),
        ),
        notes=(
            SMALLEST,
            "Random, top and bottom: half of the blocks are dropped at once from the pretrained "
            "model, which is then trained for at most as many passes over as many documents as the "
            "chains take to half of the sublayers.",
        ),
    )


def table6(context: Context) -> Table:
    """Criteria by sparse update ratio."""
    rows = []
    for ratio in sorted(context.tables.ratios, reverse=True):
        fraction = str(Fraction(ratio).limit_denominator(1000))
        of_ratio = _by_criterion(context, ratio, f"r = {fraction}")
        rows += [replace(r, key=f"r_{fraction.replace('/', '_')}/{r.key}") for r in of_ratio]
    return Table(
        "table6",
        "Table 6: accuracy (%) by criterion and sparse update ratio r",
        _models("table6", context, "compared"),
        columns=(*_domains("table6", context.trained("compared")), *SIZES[:2]),
        rows=tuple(rows),
        notes=(SMALLEST, f"Pretrained and {FULL} stand in Table 3."),
        also=TUNED[:2],
        baselines="table3",
    )


def _cross(context: Context, key: str, which: str, on: str, trained: tuple[str, ...]) -> Table:
    """Tables 4 and 5: models specialized on some domains, tested on those of the columns."""
    percents, rows = context.trim.kept_percent, [TUNED[0]]
    models = _models(key, context, "compared")
    kept = PAPER_KEPT if PAPER_KEPT in percents else min(percents)
    groups = [("", "", context.paper_chain)]
    for name in context.other_chains:
        section = f"ours: recipe {name}, criterion {context.recipes[name].criterion}"
        groups.append((f"_{name}", section, (name,)))
    for (end, section, names), domain in product(groups, trained):
        label, key_of_row = f"{published.DOMAINS[domain]}-specialized", f"{domain}_specialized{end}"
        rows.append(Row(key_of_row, label, names=names, kept=kept, trained=domain, section=section))
    return Table(
        key,
        f"Table {key[-1]}: accuracy (%) of models specialized at {kept:g}% on {on} domains",
        models,
        columns=_domains(key, context.trained(which) if models else ()),
        rows=tuple(rows),
        notes=(
            "A row was trained, calibrated and trimmed on one domain; a column is what it was "
            "tested on. Verdicts compare the sign of the difference to the pretrained model with "
            "the paper's. Losses of a model that has lost its own domain are undecided.",
        ),
    )


def table9(context: Context) -> Table:
    """Training time."""
    columns = []
    for epochs in (2, 4, 8):
        time = Column(f"minutes_{epochs}", f"{epochs} epochs", "time", "minutes", unit=" min")
        share = Column(f"share_{epochs}", f"of {FULL}", "time", "share", 0, "%")
        scans = Column(f"scans_{epochs}", f"scans, of {FULL}", "time", "scans", 0, "%")
        columns += [replace(column, epochs=epochs) for column in (time, share, scans)]
    rows = [*TUNED[1:], Row("trimllm", "TrimLLM, Both", names=context.paper_chain)]
    for name in context.other_chains:
        criterion = context.recipes[name].criterion
        label, section = CRITERIA.get(criterion, criterion), f"{OURS}: recipe {name}"
        rows.append(Row(f"trimllm_{name}", f"TrimLLM, {label}", names=(name,), section=section))
    timed = context.timed.label if context.domains else ""
    return Table(
        "table9",
        f"Table 9: minutes of training on {timed}, r = {context.main.ratio:g}",
        *(_models("table9", context, "compared"), tuple(columns), tuple(rows)),
        notes=(
            "Minutes of training alone, of the seeds on the first one's machine: seconds a token "
            f"times the tokens of a pass of {FULL}. {FULL} and Sparse-FT of more epochs than were "
            f"run take their mean, as the CSV says. Scans: in percent of {FULL}'s training.",
            "A share agrees within 10 points, by its t interval over seeds; one seed leaves it "
            "undecided. n counts the epochs measured.",
        ),
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
