"""What tables are made from: evaluations and measurements of throughput, by recipe.

The workflow is planned with this module.
"""

from __future__ import annotations

from collections.abc import Iterable

from trimllm.base.kept import drops_for
from trimllm.base.names import RULE_KEPT, RULES
from trimllm_paper.context import Context, Model
from trimllm_paper.recipe import FULL_FT, Recipe
from trimllm_paper.specification import Row, Table
from trimllm_paper.tables import TABLES


def needed(key: str, context: Context) -> list[tuple[str, str, str, str]]:
    """Evaluations of a table of accuracy: (model, domain trained on, recipe, domain tested on)."""
    spec = TABLES[key](context)
    shown = [c.key for c in spec.columns if c.shows == "accuracy" and c.domain and c.domain.tasks]
    ours = context.tables.near if key == "table4" else [domain.name for domain in context.domains]
    evaluations = [
        (model.name, row.trained or tested, recipe, tested)
        for model in spec.models
        for tested in shown
        for row in (*spec.rows, *spec.also)
        if row.evaluate and (not row.trained or row.trained in ours)
        for recipe in _recipes(row, model, spec, context)
    ]
    # Full-FT says, with the pretrained model, whether a specialized one has lost its own domain.
    home = [domain for domain in spec.trained if domain in ours and domain in shown]
    evaluations += [(model.name, d, FULL_FT, d) for model in spec.models for d in home]
    return list(dict.fromkeys(evaluations))


def _recipes(row: Row, model: Model, spec: Table, context: Context) -> list[str]:
    """Recipes of a row, as far as a run of this configuration makes them."""
    compressor = row.compressor or (Recipe.parse(row.recipe).compressor if row.recipe else None)
    available = set(context.compress.methods)
    if spec.blocks != "model":
        timed = context.throughput
        available &= {*timed.composed} if row.names else {*timed.compressors}
    if compressor and compressor not in available:
        return []
    if row.recipe:
        return [row.recipe]
    name, drops = next(iter(row.names), ""), list[int]()
    if name in RULES:
        # An odd number of blocks has no half.
        drops = [model.units // 2] if name in context.tables.rules and model.units % 4 == 0 else []
    elif row.smallest:
        # All checkpoints among which the smallest above the bar is looked for.
        step = context.main.step
        last = max(_drops(model, step, context.trim.kept_percent), default=0)
        last = min([last, *filter(None, _drops(model, step, [RULE_KEPT]))])
        drops = [*range(0, last + 1, step)]
    elif name in context.chains and (row.trained or row.kept in context.trim.kept_percent):
        drops = _drops(model, context.recipes[name].step, [row.kept])
    recipes = [Recipe.trimmed(name, dropped, model.units) for dropped in drops]
    return [str(recipe.compressed(compressor)) for recipe in recipes]


def _drops(model: Model, step: int, kept_percent: Iterable[float]) -> list[int]:
    """Drops of a chain that stand for kept fractions, as far as it has such."""
    drops = (drops_for(percent, model.units, step) for percent in kept_percent)
    return [dropped for dropped in drops if dropped is not None]


def needed_timings(context: Context) -> list[tuple[str, str]]:
    """Measurements of throughput on a machine: (model or `random-SHAPE`, recipe)."""
    timed = context.throughput
    made = [c for c in timed.compressors if c in context.compress.methods]
    timings: list[tuple[str, Recipe]] = []
    for model in context.models if timed.checkpoints else ():
        kept = [
            Recipe.trimmed(name, dropped, model.units)
            for name in context.chains
            for dropped in _drops(model, context.recipes[name].step, context.trim.kept_percent)
        ]
        full = [Recipe(FULL_FT, compressor=c) for c in (None, *made)]
        composed = [kept[0].compressed(c) for c in made if c in timed.composed]
        timings += [(model.name, recipe) for recipe in (*full, *kept, *composed)]
    for shape in timed.shapes:
        trims = [Recipe.shape(p, kept) for p in context.patterns for kept in timed.kept_percent]
        full = [Recipe.shape().compressed(c) for c in (None, *timed.compressors)]
        composed = [trim.compressed(c) for trim in trims[:1] for c in timed.composed]
        timings += [(f"random-{shape}", recipe) for recipe in (*full, *trims, *composed)]
    return [(name, str(recipe)) for name, recipe in timings]
