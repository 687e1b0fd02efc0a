"""Table 3: criteria for the unit to drop, and the rule-based droppings of Sajjad et al."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm.base.names import RULE_KEPT, RULES
from trimllm_paper import published
from trimllm_paper.measured import Results
from trimllm_paper.tables.columns import Domain, all_columns, paper_notes, seed_notes
from trimllm_paper.tables.criteria import LABELS, NOTE, OURS, Criteria, Model, section_of
from trimllm_paper.tables.notes import column_notes, provenance_notes
from trimllm_paper.tables.table import Row, Table

PAPER = published.table("table3")
BASELINES = {"pretrained": "Pretrained", "full_ft": "Full-FT", "sparse_ft": "Sparse-FT"}
RULE_NOTE = (
    "Random, top and bottom: half of the blocks dropped at once from the pretrained model, then as "
    "many passes over as many documents as the chains take to half of the units, training the most "
    "important of the blocks that are left"
)
EQUAL = f"ours: every criterion at {RULE_KEPT}% of the units, as the rules"


def build(
    evals: Iterable[str | Path],
    models: Sequence[Mapping[str, Any]],
    domains: Sequence[Domain],
    *,
    criteria: Sequence[str],
    rules: Sequence[str],
    ratio: float,
    drops_per_epoch: int,
    seed: int | None = None,
) -> Table:
    """Table 3 from evaluation files.

    Args:
        evals: evaluations of the baselines, of every epoch of the chains, and of the rules.
        models: name, label, published; as in `table2.build`.
        domains: as in `columns.Domain`; columns of the paper without one say `not run`.
        criteria, rules: of `trimllm.select`, those that were run; the paper's rules have their rows
            in any case.
        ratio, drops_per_epoch: of the chains.
    """
    results = Results(evals)
    grid = Criteria(results, PAPER, all_columns(PAPER, domains), drops_per_epoch)
    blocks = [
        grid.block(model, _rows(grid, model, criteria, rules, ratio))
        for model in map(Model.of, models)
    ]
    return Table(
        key="table3",
        title=f"Table 3: accuracy (%) by criterion and rule, r = {ratio:g}",
        columns=grid.columns,
        blocks=tuple(blocks),
        header=grid.header(models),
        notes=(
            NOTE,
            RULE_NOTE,
            *paper_notes("table3"),
            *column_notes(grid.columns[:-2], blocks),
            *seed_notes(results),
            *provenance_notes(results.measurements, seed),
        ),
    )


def _rows(
    grid: Criteria, model: Model, criteria: Sequence[str], rules: Sequence[str], ratio: float
) -> list[Row]:
    names = [domain["name"] for domain in grid.domains]
    rows = [
        grid.row(model, key, label, dict.fromkeys(names, key), at=("", key))
        for key, label in BASELINES.items()
    ]
    chosen = [grid.chosen_row(model, c, ratio, key=c) for c in criteria]
    rows += [row for row in chosen if row.section is None]
    for rule in dict.fromkeys([*RULES, *rules]):
        key = f"{rule}_{RULE_KEPT}"
        found = {
            name: grid.results.trimmed(model.name, name, rule, RULE_KEPT, ratio=ratio)
            for name in names
        }
        rows.append(grid.row(model, key, f"{rule.capitalize()} 50%", found, at=("", key)))
    rows += sorted((row for row in chosen if row.section), key=lambda row: row.section != OURS)
    for criterion in criteria:
        found = {
            name: grid.results.trimmed(
                model.name,
                name,
                criterion,
                RULE_KEPT,
                ratio=ratio,
                drops_per_epoch=grid.drops,
            )
            for name in names
        }
        mark = ", compat: authors" if section_of(criterion) not in (None, OURS) else ""
        label = f"{LABELS[criterion]} ({RULE_KEPT}%)"
        key = f"{criterion}_{RULE_KEPT}"
        rows.append(grid.row(model, key, label, found, section=EQUAL + mark))
    return rows
