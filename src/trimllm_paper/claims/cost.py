"""What would have to be run to decide a claim on the paper's own model, and what that takes.

Jobs are those of the tables that a claim is read from, for LLaMA-7B under config/paper.yaml; their
seconds are those of `make plan` (`trimllm_paper.duration`), summed as GPU-hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from trimllm.base.names import RULES
from trimllm_paper.config.load import PROJECT, load, read_yaml
from trimllm_paper.config.models import Config
from trimllm_paper.context import STAND_IN_FOR, TIMED_DOMAIN, Context
from trimllm_paper.estimate import Estimate, Job
from trimllm_paper.layout import needed, needed_timings
from trimllm_paper.recipe import PRETRAINED, Place, Recipe

CONFIG = "config/paper.yaml"
RUNS: dict[str, tuple[tuple[str, ...], str]] = {
    "speedup_consumer": (("table1",), "on a V100 and an RTX 3090"),
    "speedup_a100": (("table1",), "on an A100"),
    "compression_8x": (("table1",), "on an A100"),
    "every_engine": (("table9",), "and then table_engines on each machine"),
    "no_loss_50": (("table2",), ""),
    "layers_dropped": (("table2",), ""),
    "mlp_more_than_attention": (("table2",), ""),
    "specialization": (("table2", "table4", "table5"), ""),
    "both_best": (("table3", "table6"), ""),
    "r_quarter_best": (("table3", "table6"), ""),
    "training_time": (("table9",), ""),
    "two_per_epoch": (("table9",), ""),
}
"""Claim -> tables that it is read from, and where they have to be run."""
TIMED = "table9"
"""Trains one domain, and evaluates nothing."""


@cache
def _config() -> Config:
    return load(read_yaml(PROJECT / CONFIG), [PROJECT / CONFIG])


def _job(
    rule: str,
    domain: str,
    recipe: Recipe,
    model: str = STAND_IN_FOR,
    tasks: tuple[str, ...] = ("",),
) -> Job:
    return Job(rule, Place("", "", model, domain, recipe), tasks=tasks)


def _made(domain: str, recipe: Recipe, config: Config) -> Iterator[Job]:
    """What makes a checkpoint: the compressor; the passes, or all epochs of the chain."""
    if recipe.compressor:
        yield _job("compress", domain, recipe)
    base = recipe.dense
    if base.name in RULES:
        yield _job("drop_at_once", domain, base)
    elif base.name:
        units, step = config.models[STAND_IN_FOR].units, config.main.step
        step = config.recipes[base.name].step if base.name in config.recipes else step
        for dropped in range(0, base.dropped + 1, step):
            yield _job("trim_epoch", domain, Recipe.trimmed(base.name, dropped, units).state)
        yield _job("settle_kept", domain, base)
    elif str(base) != PRETRAINED:
        yield _job(str(base), domain, base)


def _jobs(table: str, config: Config) -> Iterator[Job]:
    """Jobs behind a table of LLaMA-7B; preparing data and downloads are left out."""
    context = Context.of(config)
    if table == "table1":
        for model, text in needed_timings(context):
            yield _job("measure", "", Recipe.parse(text), model)
        return
    asked = needed("table2" if table == TIMED else table, context)
    for model, trained, text, tested in asked:
        recipe = Recipe.parse(text)
        if model != STAND_IN_FOR or (table == TIMED and tested != TIMED_DOMAIN):
            continue
        if table != TIMED:
            yield _job("evaluate", trained, recipe, tasks=tuple(config.tested[tested].tests))
        if table != TIMED or not recipe.compressor:
            yield from _made(trained, recipe, config)


@cache
def hours(tables: tuple[str, ...]) -> float:
    """GPU-hours of some tables, each job once. Raises `UserError` without config/paper.yaml."""
    config = _config()
    estimate = Estimate(config)
    jobs = {job for table in tables for job in _jobs(table, config)}
    return estimate.hours(jobs)


def told(claim: str) -> str:
    """What decides a claim on the paper's own model, in words; "" for a claim of nobody's."""
    if claim not in RUNS:
        return ""
    tables, where = RUNS[claim]
    named = f"{', '.join(tables)} of LLaMA-7B under {CONFIG}"
    need = hours(tables)
    amount = f"{need:,.0f}" if need >= 10 else f"{need:.1f}"
    return f"{named}{' ' if where else ''}{where}, about {amount} GPU-hours"
