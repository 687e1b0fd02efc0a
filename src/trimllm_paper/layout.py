"""What `layout.yaml` says of the tables: columns, rows, and what has to be evaluated for them.

A workflow is planned with it: it reads YAML and counts, and knows of no measured number. Loops over
rows are spelled out for what the configuration says (`context.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ValidationError

from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for
from trimllm.base.names import PAPER_CRITERIA, RULE_KEPT, RULES
from trimllm_paper import published
from trimllm_paper.config.parts import Among
from trimllm_paper.context import Context, Domain, Model, Plain, Shown
from trimllm_paper.recipe import FULL_FT, Recipe

FILE = Path(__file__).with_suffix(".yaml")
Size = Literal["final", "kept_percent", "bytes_percent", "megabytes"]
SPEEDS = (
    *("decode", "speedup", "prefill", "share_decode", "share_prefill", "trim_over"),
    *("mem", "unit_bytes_percent", "share_of_copy", "share_of_matrix", "peak_megabytes"),
    *("prefill_speedup", "weights_megabytes", "parity"),
    *("compiled", "compiled_speedup"),
)


class Column(Plain):
    """A column; what it shows is one of `domain`, `minus` (what another column has more than
    its first chain), `size`, `speed`, `minutes`, `share`, `scans`.

    `interval_digits` None: at most one in brackets. `stand_in`: what was really measured. `when`
    "measured": left out where nothing of it was.
    """

    key: str
    label: str
    digits: int = 1
    interval_digits: int | None = None
    unit: str = ""
    printed: str | None = None
    times: float = 1
    over: str | None = None
    under: str | None = None
    domain: Domain | None = None
    minus: Column | None = None
    size: Size | None = None
    speed: Annotated[str, Among(SPEEDS)] | None = None
    minutes: int | None = None
    share: int | None = None
    scans: int | None = None
    stand_in: str | None = None
    when: Literal["measured"] | None = None

    @property
    def epochs(self) -> int | None:
        """Epochs that a column of time is about."""
        return self.minutes or self.share or self.scans


class DomainColumns(Plain):
    """A column for each domain: of the configuration, of the paper's table, or of both. `minus`
    "first": of differences to the first chain instead."""

    domains: Literal["configured", "published", "shared"]
    minus: Literal["first"] | None = None


class Row(Plain):
    """A row with its loops spelled out; `names` are chains, rules or patterns."""

    key: str
    label: str = ""
    section: str | None = None
    recipe: str | None = None
    names: tuple[str, ...] = ()
    kept: float | None = None
    smallest: bool = False
    compressor: str | None = None
    format: str | None = None
    batch: int = 1
    trained: str | None = None
    longer_than: tuple[str, ...] = ()
    home: bool = False
    evaluate: bool = True
    when: Literal["measured"] | None = None


class Layout(Plain):
    """A table. The head of layout.yaml says what each key means."""

    key: str
    title: str
    columns: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    needs: list[dict[str, Any]] = []
    header: list[str] = []
    notes: list[str] = []
    baselines: str | None = None
    relation: Literal["baselines", "specialized"] = "baselines"
    blocks: Literal["models", "machines", "both", "engines"] = "models"
    models: str = "main"
    trained: Literal["all", "compared", "near"] = "all"
    compared: Annotated[str, Among(published.LABELS)] = "llama-7b"
    brackets: str = "95% interval over documents and seeds"
    stand_in: str | None = None
    label: str = "{model}"
    gpus: dict[str, str] = {}
    reference: float | None = None
    paper_rows: dict[str, dict[str, str]] = {}
    others: str | None = None

    @property
    def paper(self) -> published.PublishedTable:
        """The paper's numbers; none for a table that the paper does not have."""
        known = self.key in published.tables()
        return published.table(self.key) if known else published.PublishedTable(self.key, (), {})


@cache
def _content() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


def tables() -> tuple[str, ...]:
    """Keys of all tables."""
    return tuple(_content()["tables"])


def read(table: str) -> Layout:
    """A table's layout. Raises `UserError` for a table, or a key of one, that does not exist."""
    entries = _content()["tables"]
    if table not in entries:
        raise UserError(f"{table} is no table; there are {', '.join(entries)}")
    return _checked(Layout, table, {"key": table, **entries[table]})


def _checked(kind: type[Plain], table: str, content: Mapping[str, Any]) -> Any:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"layout of {table}: {where}: {first['msg'].lower()}") from None


def models_of(layout: Layout, context: Context) -> tuple[Model, ...]:
    """Models of a table, without those whose numbers stand in another table of the paper."""
    known = [block for block in layout.paper.blocks if block in published.LABELS]
    chosen = context.select(layout.models)
    return tuple(m for m in chosen if not known or m.published in (None, *known))


def columns_of(layout: Layout, context: Context) -> tuple[Column, ...]:
    """Columns in order, one for each domain; a domain that is not ours has no tasks."""
    found: list[Column] = []
    for entry in layout.columns:
        if "domains" not in entry:
            found.append(_checked(Column, layout.key, entry))
            continue
        asked = _checked(DomainColumns, layout.key, entry)
        paper = [d for d in layout.paper.columns if d in published.DOMAINS]
        ours = {domain.name: domain for domain in context.trained(layout.trained)}
        names = [name for name in paper if name in ours]
        if asked.domains == "configured":
            names += sorted(ours.keys() - {*paper})
        elif asked.domains == "published":
            # Without a model the table is the paper's alone, on its own data.
            names, ours = paper, ours if models_of(layout, context) else {}
        for name in names:
            absent = Domain(name=name, label=published.DOMAINS.get(name, name), tasks=())
            domain = ours.get(name, absent)
            label, stand_in = domain.label, domain.stand_in
            column = Column(key=name, label=label, stand_in=stand_in, domain=domain)
            if asked.minus:
                label = f"{label} − {context.chains[0]}"
                column = Column(key=f"{name}_minus", label=label, minus=column)
            found.append(column)
    return tuple(found)


def rows_of(layout: Layout, context: Context, *, needs: bool = False) -> list[Row]:
    """Rows in order, every loop spelled out; with `needs` those that are not shown, too."""
    entries = [*layout.rows, *(layout.needs if needs else ())]
    return [row for entry in entries for row in _spelled(entry, {}, layout, context)]


def _spelled(
    entry: Mapping[str, Any], scope: Mapping[str, Any], layout: Layout, context: Context
) -> Iterator[Row]:
    loops = {variable: _values(given, context) for variable, given in entry.get("for", {}).items()}
    for values in product(*loops.values()):
        inner = {**scope, **dict(zip(loops, values, strict=True))}
        if "rows" in entry:
            for each in entry["rows"]:
                yield from _spelled(each, inner, layout, context)
        else:
            yield _row(entry, inner, layout, context)


def _values(given: Any, context: Context) -> list[Any]:
    """Values of a variable: literal ones, and what a word stands for."""
    lists = context.lists()
    items = given if isinstance(given, list) else [given]
    found = [value for item in items for value in lists.get(item, [item])]
    return list(dict.fromkeys(found))


def _row(
    entry: Mapping[str, Any], scope: Mapping[str, Any], layout: Layout, context: Context
) -> Row:
    given = {k: entry[k] for k in ("kept", "compressor", "trained") if k in entry}
    scope = {**scope, **{k: _values(value, context)[0] for k, value in given.items()}}
    names = _values(scope.get("chain", entry.get("chain", [])), context)
    if scope.get("chain") in context.recipes:
        scope["criterion"] = context.recipes[scope["chain"]].criterion
    elif "criterion" in scope:
        names = [context.variant(scope["criterion"], scope.get("ratio", context.main.ratio))]
    elif "rule" in scope:
        names = [scope["rule"]]
    words = _words(scope, _content()["labels"])
    texts = {k: entry[k] for k in ("key", "label", "section") if k in entry}
    told = {k: worded(text, words, layout) for k, text in texts.items()}
    sources = ("kept", "compressor", "trained", "format", "batch")
    source: dict[str, Any] = {k: scope[k] for k in sources if k in scope}
    plain = {k: v for k, v in entry.items() if k not in ("for", "chain")}
    return _checked(Row, layout.key, {**plain, **told, **source, "names": names})


def worded(text: str, words: Mapping[str, str], layout: Layout) -> str:
    """A text with its words in place. Raises `UserError` for a word that there is none of."""
    try:
        return text.format_map(words)
    except (KeyError, ValueError, IndexError) as error:
        known = ", ".join(words)
        problem = f"{text!r} names {error}; there are {known}"
        raise UserError(f"layout of {layout.key}: {problem}") from None


def _words(scope: Mapping[str, Any], labels: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What the texts of a row may name: its loop's values, and their labels."""
    found = {key: f"{value:g}" if key == "kept" else str(value) for key, value in scope.items()}
    ratio = Fraction(scope.get("ratio", 1)).limit_denominator(1000)
    paper, trained = scope.get("criterion") in PAPER_CRITERIA, found.get("trained", "")
    kinds = {"criterion": "criteria", "compressor": "compressors", "format": "formats"}
    for variable, kind in kinds.items():
        value = found.get(variable, "")
        found[f"{variable}_label"] = labels[kind].get(value, value)
    return found | {
        "whose": "the paper's criterion" if paper else "not the paper's",
        "rule_label": found.get("rule", "").capitalize(),
        "trained_label": published.DOMAINS.get(trained, trained),
        "ratio_label": str(ratio),
        "ratio_key": "r_" + str(ratio).replace("/", "_"),
    }


# ---- what a table is made from -------------------------------------------------------------------


def needed(table: str, context: Context) -> list[tuple[str, str, str, str]]:
    """Evaluations of a table of accuracy: (model, domain trained on, recipe, domain tested on)."""
    layout = read(table)
    rows = [row for row in rows_of(layout, context, needs=True) if row.evaluate]
    shown = [c.key for c in columns_of(layout, context) if c.domain and c.domain.tasks]
    near = layout.trained == "near"
    trained = {None, *(context.near if near else (domain.name for domain in context.domains))}
    found = (
        (model.name, row.trained or tested, recipe, tested)
        for model in models_of(layout, context)
        for tested in shown
        for row in rows
        if row.trained in trained and (not row.home or row.trained == tested)
        for recipe in _recipes(row, model, layout, context)
    )
    return list(dict.fromkeys(found))


def _recipes(row: Row, model: Model, layout: Layout, context: Context) -> list[str]:
    """Recipes that a row is made from, of those that a run of this configuration makes."""
    compressor = row.compressor or (Recipe.parse(row.recipe).compressor if row.recipe else None)
    made = set(context.compressors)
    if layout.blocks != "models":
        made &= set(context.timed_compressors)
        made &= set(context.composed if row.names else made)
    if compressor and compressor not in made:
        return []
    if row.recipe:
        return [row.recipe]
    name, drops = next(iter(row.names), ""), list[int]()
    if name in RULES:
        # An odd number of blocks has no half: nothing is run then.
        drops = [model.units // 2] if name in context.rules and model.units % 4 == 0 else []
    elif row.smallest:
        # After every epoch, as far as the smallest checkpoint is looked for.
        last = max(_drops(model, context.main, context.kept_percent), default=0)
        wanted = _drops(model, context.main, [context.smallest_percent or RULE_KEPT])
        drops = [*range(0, min([last, *filter(None, wanted)]) + 1, context.main.step)]
    elif name in context.chains and (row.trained or row.kept in context.kept_percent):
        drops = _drops(model, context.recipes[name], [row.kept] if row.kept else [])
    found = [Recipe.trimmed(name, dropped, model.units) for dropped in drops]
    return [str(recipe.compressed(compressor)) for recipe in found]


def _drops(model: Model, chain: Shown, kept_percent: Iterable[float]) -> list[int]:
    """Drops of a chain that stand for kept fractions, as far as it has such."""
    found = [drops_for(percent, model.units, chain.step) for percent in kept_percent]
    return [dropped for dropped in found if dropped is not None]


def needed_timings(context: Context) -> list[tuple[str, str]]:
    """Measurements of throughput on a machine: (model or `random-SHAPE`, recipe)."""
    made = [c for c in context.timed_compressors if c in context.compressors]
    found: list[tuple[str, Recipe]] = []
    for model in context.models if context.checkpoints else ():
        kept = [
            Recipe.trimmed(name, dropped, model.units)
            for name in context.chains
            for dropped in _drops(model, context.recipes[name], context.kept_percent)
        ]
        full = [Recipe(FULL_FT, compressor=c) for c in (None, *made)]
        composed = [kept[0].compressed(c) for c in made if c in context.composed]
        found += [(model.name, recipe) for recipe in (*full, *kept, *composed)]
    for shape in context.shapes:
        trims = [Recipe.shape(p, kept) for p in context.patterns for kept in context.timed_percent]
        full = [Recipe.shape().compressed(c) for c in (None, *context.timed_compressors)]
        composed = [trim.compressed(c) for trim in trims[:1] for c in context.composed]
        found += [(f"random-{shape}", recipe) for recipe in (*full, *trims, *composed)]
    return [(name, str(recipe)) for name, recipe in found]
