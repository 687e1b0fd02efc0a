"""What tables of accuracy share: their columns, sizes, stand-ins and the lines that say so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trimllm_paper import published
from trimllm_paper.measured import Accuracy, Results
from trimllm_paper.published import PublishedTable, Value
from trimllm_paper.tables.table import Cell, Column
from trimllm_paper.verdict import NOT_RUN, judge_size

Domain = Mapping[str, Any]
"""name, label, tasks (names that count for the column; default all), stand_in (text or None)."""

COMPARED = "llama-7b"
"""The paper's model that a stand-in is shown beside."""
FINAL_MEM = Column("final_mem", "Final Mem", short="Mem", digits=0, unit="%")
TRUE_BYTES = Column("true_bytes", "true bytes", digits=0, unit="%")


def all_columns(paper: PublishedTable, domains: Sequence[Domain]) -> list[Domain]:
    """Every domain of a table of the paper, in its order; those that are not ours have no tasks."""
    ours = {domain["name"]: domain for domain in domains}
    return [
        ours.get(name, {"name": name, "label": published.DOMAINS[name], "tasks": []})
        for name in paper.columns
        if name in published.DOMAINS
    ]


def task_names(domain: Domain) -> list[str] | None:
    """Tasks that count for the domain's column, in order; None: all that were measured."""
    tasks = domain.get("tasks")
    if tasks is None:
        return None
    return [task["name"] if isinstance(task, Mapping) else str(task) for task in tasks]


def stand_in_of(results: Results, domain: Domain) -> str | None:
    """What a column was really measured on: what its files say, or the domain does."""
    tasks, name = task_names(domain), domain["name"]
    said = [
        one.stand_in
        for one in results.measurements
        # models of other domains are evaluated on its tasks too
        if (one.domain == name if tasks is None else one.task in tasks)
    ]
    names = dict.fromkeys(text for text in said if text)
    return "; ".join(names) or domain.get("stand_in")


def columns_of(results: Results, domains: Sequence[Domain]) -> tuple[Column, ...]:
    """Domains as columns."""
    return tuple(
        Column(d["name"], d.get("label") or d["name"], stand_in=stand_in_of(results, d))
        for d in domains
    )


def size_cell(found: Sequence[Accuracy], size: str, printed: Value, own: bool) -> Cell:
    """Mean of a size over the columns of a row: `kept_percent`, `bytes_percent`, `megabytes`."""
    values = [value for one in found if (value := getattr(one, size)) is not None]
    if not values:
        return Cell(published=printed, verdict=NOT_RUN)
    mean = sum(values) / len(values)
    verdict, why = judge_size(mean, printed, own=own)
    return Cell(
        measured=mean,
        published=printed,
        verdict=verdict,
        spread=(min(values), max(values)),
        why=why,
        sources=tuple(source for one in found for source in one.sources),
    )


def stand_in_header(
    models: Iterable[Mapping[str, Any]], columns: Iterable[Column], compared: str = COMPARED
) -> tuple[str, ...]:
    """Lines above a table: which models and data stand in for the paper's."""
    lines = []
    stand_ins = [m.get("label") or m["name"] for m in models if not m.get("published")]
    if stand_ins:
        lines.append(
            f"Stand-in model: {', '.join(stand_ins)} in place of {published.LABELS[compared]}; "
            "its numbers never stand in the paper's lines"
        )
    for column in columns:
        if column.stand_in:
            lines.append(f"Stand-in data, column {column.label}: {column.stand_in}")
    return tuple(lines)


def seed_notes(results: Results) -> tuple[str, ...]:
    """What a cell of several seeds shows."""
    seeds = {one.seed for one in results.measurements}
    if len(seeds) < 2:
        return ()
    text = "mean ± standard deviation; the documents counted, verdicts and the CSV's intervals are "
    text += "those of all seeds together"
    return (f"{len(seeds)} seeds, of splits, order and training alike: {text}",)


def paper_notes(table: str) -> tuple[str, ...]:
    """Contradictions in the paper itself that concern a table."""
    return tuple(f"In the paper itself: {text}" for text in published.inconsistencies(table))
