"""The lines under a table that its own cells say: documents, losses, shares, columns that count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from trimllm_paper.layout import Column
from trimllm_paper.recipe import FULL_FT, PRETRAINED
from trimllm_paper.render import Block, Cell, Line
from trimllm_paper.verdict import ABOVE_CHANCE, ABOVE_WORDS

Columns = Sequence[Column]
Blocks = Sequence[Block]


def documents(columns: Columns, blocks: Blocks) -> Iterator[str]:
    """One line: documents and, where known, chance level of every accuracy column; which of them
    has free answers."""
    parts = []
    for column in columns:
        cells = [line.cells[column.key] for block in blocks for line in block.rows]
        cells = [cell for cell in cells if cell.n]
        sizes = sorted({cell.n for cell in cells if cell.n})
        chance = dict.fromkeys(cell.details["chance"] for cell in cells)
        levels = " or ".join(f"{level:.1f}%" for level in chance if level is not None)
        told = f" (chance {levels})" if levels else ""
        if any("token_f1" in cell.details for cell in cells):
            told = " (free answers: F1 of words)"
        ends = " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1])))) if sizes else ""
        parts += [f"{column.label} {ends}{told}"] if sizes else []
    if parts:
        yield f"Documents: {', '.join(parts)}"


def counting(
    columns: Columns, blocks: Blocks, words: Mapping[tuple[str, str], Sequence[tuple[float, int]]]
) -> Iterator[str]:
    """A line a block: how far Full-FT lies above chance, above a bag of words (`words`, see
    `Frame`) and above the pretrained model, by column; and where a share of it means anything."""
    for block in blocks:
        told, counts = [], []
        full = next((line.cells for line in block.rows if line.key == FULL_FT), {})
        for column in columns:
            domain, cell = column.domain, full.get(column.key, Cell())
            known = [words.get((domain.name, task)) for task in domain.tasks] if domain else []
            above, gain = (cell.details.get(key) for key in ("above_chance", "minus_pretrained"))
            if cell.measured is None or not isinstance(above, float) or not known or None in known:
                continue
            every = [one for reports in known for one in reports or ()]
            of_words = sum(percent * n for percent, n in every) / sum(n for _, n in every)
            over = cell.measured - of_words
            gained = f"{gain:.1f}" if isinstance(gain, float) else "–"
            told.append(f"{column.label} {above:.1f} / {over:.1f} / {gained}")
            counts += [column.label] if above >= ABOVE_CHANCE and over >= ABOVE_WORDS else []
        if told:
            yield (
                f"{block.label}: points of Full-FT above chance / above a bag of words (logistic "
                "regression on the same training documents) / above the pretrained model: "
                f"{', '.join(told)}. Columns whose shares of Full-FT count, by {ABOVE_CHANCE} and "
                f"{ABOVE_WORDS} of the first two: {', '.join(counts) or 'none'}"
            )


def shares(columns: Columns, blocks: Blocks) -> Iterator[str]:
    """A line a block: share of Full-FT's accuracy by row and column, and of that above chance."""

    def told(details: Mapping[str, Any]) -> str | None:
        of, above = details.get("share_of_full_ft"), details.get("share_above_chance")
        if of is None:
            return None
        return f"{of:.0f}" if above is None else f"{of:.0f} ({round(above)})"  # never -0

    what = "% of Full-FT's accuracy (of what it has above chance)"
    return _by_row(columns, blocks, what, told, but=(PRETRAINED, FULL_FT))


def losses(columns: Columns, blocks: Blocks) -> Iterator[str]:
    """A line a block: answer loss by row and column."""

    def told(details: Mapping[str, Any]) -> str | None:
        loss = details.get("answer_loss")
        return None if loss is None else f"{loss:.2f}"

    return _by_row(columns, blocks, "nats a token of the right answers", told)


def answers(columns: Columns, blocks: Blocks) -> Iterator[str]:
    """A line a block and column of free answers: what the F1 of words does not tell, by row."""
    for block in blocks:
        for column in columns:
            cells = [(_titled(line), line.cells[column.key].details) for line in block.rows]
            told = [
                f"{row} {found['exact_match']:.1f} / {found['rouge_l']:.1f} / "
                f"{found['perplexity']:.4g}"
                for row, found in cells
                if "token_f1" in found
            ]
            if told:
                yield (
                    f"{block.label}, {column.label}: exact matches (%) / ROUGE-L (%) / perplexity "
                    f"of the reference answers: {', '.join(told)}"
                )


def _by_row(
    columns: Columns,
    blocks: Blocks,
    what: str,
    told: Callable[[Mapping[str, Any]], str | None],
    but: Sequence[str] = (),
) -> Iterator[str]:
    """A line a block: something of every row and column; no row that has nothing of it."""
    for block in blocks:
        found = {
            _titled(line): [told(line.cells[one.key].details) for one in columns]
            for line in block.rows
            if line.key not in but
        }
        if known := {row: each for row, each in found.items() if any(each)}:
            heads = " / ".join(column.label for column in columns)
            rows = (f"{row} {' / '.join(x or '–' for x in each)}" for row, each in known.items())
            yield f"{block.label}: {what}, {heads}: {'; '.join(rows)}"


def _titled(line: Line) -> str:
    """A row's label, with the section that tells it from a row of the same label."""
    return f"{line.label} ({line.section})" if line.section else line.label
