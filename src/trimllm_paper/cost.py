"""What would have to be run to decide a claim on the paper's own model, and what that takes.

Jobs are those of the tables that a claim is read from, for LLaMA-7B under config/paper.yaml; their
seconds are those of `make plan` (`trimllm_paper.duration`), summed as GPU-hours; of what is claimed
of several machines, timings count on each of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from trimllm.base.names import RULES
from trimllm.engines.formats import COMPRESSED, TRANSFORMERS
from trimllm_paper.config.load import PROJECT, load, read_yaml
from trimllm_paper.config.models import Config
from trimllm_paper.context import STAND_IN_FOR, TIMED_DOMAIN, Context
from trimllm_paper.engine_jobs import EngineJobs
from trimllm_paper.estimate import Estimate, Job
from trimllm_paper.gpus import GB, KINDS, Kind
from trimllm_paper.layout import needed, needed_timings
from trimllm_paper.published import LABELS
from trimllm_paper.recipe import PRETRAINED, Place, Recipe

CONFIG = "config/paper.yaml"
V100 = Kind(16, 125e12, 900 * GB, 15.75 * GB)
"""V100-PCIe-16GB by its data sheet. It is timed and never planned for: no torch of ours trains on
it."""


@dataclass(frozen=True)
class Run:
    """What decides a claim: tables, where they have to be run, on each of which kinds of GPUs (none
    named: the configuration's), in how many processes (None: the configuration's), in which domain
    (none named: all), and how often."""

    tables: tuple[str, ...]
    where: str = ""
    kinds: tuple[Kind | None, ...] = (None,)
    processes: int | None = None
    domain: str = ""
    times: int = 1


TRAINED = Run(
    (TIMES := "table9",), "in all five domains on two A100 (compute.processes: 2)", (None,), 2
)
RUNS = {
    "speedup_consumer": Run(
        ("table1",), "on a V100 and an RTX 3090", (V100, KINDS["RTX-3090-24GB"])
    ),
    "speedup_a100": Run(("table1",), "on an A100"),
    "compression_8x": Run(("table1",), "on an A100"),
    "every_engine": Run(
        (ENGINES := "table_engines",),
        "on an A100, a V100 and an RTX 3090",
        (None, V100, KINDS["RTX-3090-24GB"]),
    ),
    "no_loss_50": Run(("table2",)),
    "layers_dropped": Run(("table2",)),
    "mlp_more_than_attention": Run(("table2",)),
    "specialization": Run(("table2", "table4", "table5")),
    "both_best": Run(("table3", "table6")),
    "r_quarter_best": Run(("table3", "table6")),
    "training_time": TRAINED,
    "two_per_epoch": TRAINED,
}
"""Claim -> what decides it."""
TABLES = {
    "table1": Run(
        ("table1",),
        "on an A100, a V100 and an RTX 3090",
        (None, V100, KINDS["RTX-3090-24GB"]),
    ),
    **{name: Run((name,)) for name in (f"table{number}" for number in range(2, 7))},
    "table7": Run(("table7", "table1"), "on an A100"),
    "table8": Run(("table8",)),
    "table9": Run(
        ("table9",),
        "on two A100 (compute.processes: 2) under three seeds",
        processes=2,
        domain=TIMED_DOMAIN,
        times=3,
    ),
}
"""Table of the paper -> what decides its cells."""
MODELS = {"table8": ("opt-1.3b", "opt-6.7b")}
"""Models of a table; all others are of LLaMA-7B."""


@cache
def _config(processes: int | None = None) -> Config:
    raw = read_yaml(PROJECT / CONFIG)
    raw["compute"]["processes"] = processes or raw["compute"]["processes"]
    return load(raw, [PROJECT / CONFIG])


def _job(
    rule: str,
    domain: str,
    recipe: Recipe,
    model: str = STAND_IN_FOR,
    tasks: tuple[str, ...] = ("",),
) -> Job:
    return Job(rule, Place("", "", model, domain, recipe), tasks=tasks)


def _made(domain: str, recipe: Recipe, config: Config, model: str = STAND_IN_FOR) -> Iterator[Job]:
    """What makes a checkpoint: the compressor; the passes, or all epochs of the chain."""
    if recipe.compressor:
        yield _job("compress", domain, recipe, model)
    base = recipe.dense
    if base.name in RULES:
        yield _job("drop_at_once", domain, base, model)
    elif base.name:
        units, step = config.models[model].units, config.main.step
        step = config.recipes[base.name].step if base.name in config.recipes else step
        for dropped in range(0, base.dropped + 1, step):
            state = Recipe.trimmed(base.name, dropped, units).state
            yield _job("trim_epoch", domain, state, model)
        yield _job("settle_kept", domain, base, model)
    elif str(base) != PRETRAINED:
        yield _job(str(base), domain, base, model)


def _jobs(table: str, config: Config) -> Iterator[Job]:
    """Jobs behind a table; preparing data and downloads are left out."""
    context = Context.of(config)
    if table == "table1":
        for model, text in needed_timings(context):
            yield _job("measure", "", Recipe.parse(text), model)
        return
    if table == ENGINES:
        yield from _in_engines(EngineJobs(config))
        return
    times = table == TIMES  # of trainings, by the paper's recipe; nothing is evaluated
    for model, trained, text, tested in needed("table2" if times else table, context):
        recipe = Recipe.parse(text)
        other = recipe.compressor or recipe.name not in (None, config.trim.recipes[0])
        if model not in MODELS.get(table, (STAND_IN_FOR,)) or (times and other):
            continue
        if not times:
            tests = tuple(config.tested[tested].tests)
            yield _job("evaluate", trained, recipe, model, tests)
        yield from _made(trained, recipe, config, model)


def _in_engines(jobs: EngineJobs) -> Iterator[Job]:
    """Every checkpoint in every format: made, compressed or exported, and measured."""
    for engine, formats in jobs.engine_formats(STAND_IN_FOR).items():
        for name in formats:
            for recipe in jobs.engine_recipes(STAND_IN_FOR, name):
                made = recipe.compressed(name if name in COMPRESSED else None)
                yield from _made(jobs.timed_domain, made, jobs.config)
                if engine != TRANSFORMERS:
                    yield replace(_job("export", jobs.timed_domain, recipe), file=name)
                yield replace(_job("engines", jobs.timed_domain, recipe), file=name)


@cache
def hours(run: Run) -> float:
    """GPU-hours of a run: each job once, what measures once on each machine.

    Raises `UserError` without config/paper.yaml.
    """
    config = _config(run.processes)
    every = {job for table in run.tables for job in _jobs(table, config)}
    jobs = {
        one for one in every if not run.domain or (one.place and one.place.domain == run.domain)
    }
    timings = {one for one in jobs if one.rule in ("measure", "engines")}
    again = sum(Estimate(config, kind=kind).hours(timings) for kind in run.kinds[1:])
    return run.times * (Estimate(config, kind=run.kinds[0]).hours(jobs) + again)


def told(claim: str) -> str:
    """What decides a claim on the paper's own model, in words; "" for a claim of nobody's."""
    if claim not in RUNS:
        return ""
    return _words(RUNS[claim])


def of_table(table: str) -> str:
    """The same of the cells of a table; "" for one that the paper does not have."""
    return _words(TABLES[table]) if table in TABLES else ""


def _words(run: Run) -> str:
    labels = " and ".join(LABELS[model] for model in MODELS.get(run.tables[0], (STAND_IN_FOR,)))
    named = f"{', '.join(run.tables)} of {labels} under {CONFIG}"
    need = hours(run)
    amount = f"{need:,.0f}" if need >= 10 else f"{need:.1f}"
    return f"{' '.join(filter(None, [named, run.where]))}, about {amount} GPU-hours"
