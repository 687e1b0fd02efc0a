"""Tables 2 and 8: accuracy by domain, before and after fine-tuning, compression and trimming.

Every measured model has a block: the paper's ten recipes in its order, then, set apart, what the
paper does not have (other criteria and, where they were run, compressors). Three columns on size:
*Final Mem* is what the paper prints (the kept fraction of the units; for compressors the share of
the bytes), *true bytes* and *true MB* what the checkpoint's weights weigh, in percent of the
pretrained model's and in 10⁶ bytes, as mean (smallest to largest) over the domains, since each
domain drops other units.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import published
from trimllm_paper.measured import Accuracy, Results
from trimllm_paper.published import PublishedTable
from trimllm_paper.tables.accuracy_cell import accuracy_cell
from trimllm_paper.tables.columns import (
    COMPARED,
    FINAL_MEM,
    TRUE_BYTES,
    Domain,
    paper_notes,
    seed_notes,
    size_cell,
    stand_in_header,
    stand_in_of,
    task_names,
)
from trimllm_paper.tables.notes import column_notes, provenance_notes
from trimllm_paper.tables.render import render, to_text
from trimllm_paper.tables.table import Block, Cell, Column, Row, Table
from trimllm_paper.verdict import Anchors

__all__ = ["build", "render", "to_text"]

PAPER = published.table("table2")
PAPER_KEPT = (50, 40, 30)
SIZES = (FINAL_MEM, TRUE_BYTES, Column("megabytes", "true MB", terminal=False))
RECIPES = {
    "pretrained": ("Pretrained", "pretrained"),
    "full_ft": ("Full-FT", "full_ft"),
    "sparse_ft": ("Sparse-FT", "sparse_ft"),
    "llm_pruner": ("LLM-Pruner", "full_ft+llm_pruner"),
    "sparsegpt_2_4": ("SparseGPT (2:4)", "full_ft+sparsegpt_2_4"),
    "llm_int8": ("LLM.int8()", "full_ft+llm_int8"),
    "awq_int4": ("AWQ-int4", "full_ft+awq_int4"),
}
"""Row key -> label and recipe. The compressors are applied to the fully fine-tuned model."""
COMPRESSED = {
    **{key: row for key, row in RECIPES.items() if "+" in row[1]},
    "gptq_int4": ("GPTQ-int4", "full_ft+gptq_int4"),
}
"""Those that can be run. The paper's table has some of them, the others are rows set apart."""
NOT_PRINTED = "ours, not the paper's: compressors that its table does not have"


def build(
    evals: Iterable[str | Path],
    models: Sequence[Mapping[str, Any]],
    domains: Sequence[Domain],
    *,
    criteria: Sequence[str] = (PAPER_CRITERION,),
    kept_percent: Sequence[float] = PAPER_KEPT,
    ratio: float | None = None,
    drops_per_epoch: int | None = None,
    seed: int | None = None,
    table: str = "table2",
    compared: str = COMPARED,
) -> Table:
    """Table 2, or another of its form, from evaluation files.

    `models`: name, label and `published`, the key of the paper's model that this one *is*, or None
    for a stand-in; models whose numbers stand in another table are left out. `domains`: see
    `Domain`; they come in the paper's order, others after them.
    `compared`: the paper's model that a stand-in is shown beside.
    `ratio` and `drops_per_epoch` select among several trim runs; `seed` is stated in the notes.
    What was not measured is a `not run` cell. Raises `UserError` for files that contradict their
    path, themselves or each other.
    """
    results, paper = Results(evals), published.table(table)
    for model in models:
        if model.get("published") not in (None, *published.LABELS):
            known = ", ".join(published.LABELS)
            raise UserError(
                f"model {model['name']}: published: {model['published']} is no model of the "
                f"paper; use null or one of {known}"
            )
    # OPT, say, has its numbers in another table.
    models = [m for m in models if m.get("published") in (None, *paper.blocks)]
    domains = sorted(domains, key=lambda d: _place(paper, d["name"]))
    run = {"ratio": ratio, "drops_per_epoch": drops_per_epoch}
    lines = _Lines(results, paper, compared, domains, run, tuple(criteria), tuple(kept_percent))
    blocks = [
        lines.block(m["name"], m.get("label") or m["name"], m.get("published")) for m in models
    ]
    shown = {m.get("published") or compared for m in models}
    blocks += [
        lines.block(key, published.LABELS[key], key, ours=False)
        for key in paper.blocks
        if key not in shown
    ]
    columns = tuple(
        Column(d["name"], d.get("label") or d["name"], stand_in=lines.stand_in(d)) for d in domains
    )
    return Table(
        key=table,
        title=f"Table {table[5:]}: accuracy (%) of specialized models, ours and the paper's",
        columns=(*columns, *SIZES),
        blocks=tuple(blocks),
        header=stand_in_header(models, columns, compared),
        notes=(
            *_notes(criteria, table),
            *column_notes(columns, blocks),
            *seed_notes(results),
            *provenance_notes(results.measurements, seed),
        ),
    )


def _place(paper: PublishedTable, domain: str) -> tuple[int, str]:
    known = domain in paper.columns
    return (paper.columns.index(domain), "") if known else (len(paper.columns), domain)


class _Lines:
    """Builds the blocks, rows and cells of one table."""

    def __init__(
        self,
        results: Results,
        paper: PublishedTable,
        compared: str,
        domains: Sequence[Domain],
        run: Mapping[str, Any],
        criteria: tuple[str, ...],
        kept_percent: tuple[float, ...],
    ) -> None:
        self.results, self.paper, self.compared = results, paper, compared
        self.domains, self.run = domains, run
        # Tables differ in their compressors and kept fractions.
        self.printed = {row for block in paper.blocks for row in paper.rows(block)}
        printed_kept = [kept for kept in PAPER_KEPT if f"trimllm_{kept}" in self.printed]
        extra = [kept for kept in kept_percent if kept not in printed_kept]
        self.paper_kept = (*printed_kept, *(extra if PAPER_CRITERION in criteria else ()))
        self.ours = [(c, kept) for c in criteria if c != PAPER_CRITERION for kept in kept_percent]

    def block(
        self, model: str, label: str, is_published: str | None, *, ours: bool = True
    ) -> Block:
        """All rows of a model, those of `ours` last; a stand-in is set beside `compared`."""
        compared = is_published or self.compared
        own = is_published is not None
        rows = [
            self._row(model, key, name, dict.fromkeys(self._names(), recipe), compared, own)
            for key, (name, recipe) in RECIPES.items()
            if key in self.printed
        ]
        trims = [(PAPER_CRITERION, kept, None) for kept in self.paper_kept]
        if ours:
            trims += [(c, kept, f"ours, not the paper's: criterion {c}") for c, kept in self.ours]
        for criterion, kept, section in trims:
            key = f"trimllm_{kept:g}" + (f"_{criterion}" if section else "")
            found = {
                name: self.results.trimmed(model, name, criterion, kept, **self.run)
                for name in self._names()
            }
            rows.append(
                self._row(model, key, f"TrimLLM ({kept:g}%)", found, compared, own, section)
            )
        rows += self._not_printed(model, compared, own)
        return Block(model, label, tuple(rows), published.LABELS[compared], is_paper=own)

    def _not_printed(self, model: str, compared: str, own: bool) -> list[Row]:
        """Compressors that were run and have no row in the paper's table."""
        names = self._names()
        rows = [
            self._row(model, key, label, dict.fromkeys(names, recipe), compared, own, NOT_PRINTED)
            for key, (label, recipe) in COMPRESSED.items()
            if key not in self.printed
        ]
        return [row for row in rows if any(row.cells[name].n for name in names)]

    def stand_in(self, domain: Domain) -> str | None:
        """What a column was really measured on."""
        return stand_in_of(self.results, domain)

    def _names(self) -> list[str]:
        return [domain["name"] for domain in self.domains]

    def _accuracy(self, model: str, domain: Domain, recipe: str | None) -> Accuracy | None:
        if recipe is None:
            return None
        return self.results.accuracy(model, domain["name"], recipe, task_names(domain))

    def _row(
        self,
        model: str,
        key: str,
        label: str,
        recipes: Mapping[str, str | None],
        compared: str,
        own: bool,
        section: str | None = None,
    ) -> Row:
        cells: dict[str, Cell] = {}
        found: list[Accuracy] = []
        for domain in self.domains:
            accuracy = self._accuracy(model, domain, recipes[domain["name"]])
            found += [accuracy] if accuracy else []
            cells[domain["name"]] = self._accuracy_cell(model, key, domain, accuracy, compared, own)
        printed = self.paper.value(key, "final_mem", compared)
        compressed = any("+" in recipe for recipe in recipes.values() if recipe)
        size = "bytes_percent" if compressed else "kept_percent"
        cells["final_mem"] = size_cell(found, size, printed, own)
        cells["true_bytes"] = size_cell(found, "bytes_percent", None, own)
        cells["megabytes"] = size_cell(found, "megabytes", None, own)
        return Row(key, label, cells, section)

    def _accuracy_cell(
        self,
        model: str,
        row: str,
        domain: Domain,
        accuracy: Accuracy | None,
        compared: str,
        own_model: bool,
    ) -> Cell:
        name = domain["name"]
        printed = self._printed(row, name, compared)
        base, full = (self._accuracy(model, domain, recipe) for recipe in ("pretrained", "full_ft"))
        baselines = (self._printed(key, name, compared) for key in ("pretrained", "full_ft"))
        own = own_model and not self.stand_in(domain)
        return accuracy_cell(accuracy, row, printed, Anchors(base, full, *baselines), own=own)

    def _printed(self, row: str, domain: str, compared: str) -> published.Value:
        known = domain in self.paper.columns
        return self.paper.value(row, domain, compared) if known else None


def _notes(criteria: Sequence[str], table: str) -> tuple[str, ...]:
    notes = [
        "Final Mem is the kept fraction of the attention and MLP units, as the paper counts; true "
        "bytes are the weights of the checkpoint in percent of the pretrained model's, mean "
        "(smallest to largest) over the measured domains, each of which drops other units",
        f"TrimLLM rows: criterion {PAPER_CRITERION} (calibration scan, ties by activation norm)",
    ]
    if PAPER_CRITERION not in criteria:
        notes.append(f"Criterion {PAPER_CRITERION} is not in this configuration")
    return (*notes, *paper_notes(table))
