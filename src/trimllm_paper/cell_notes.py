"""The lines under a table that its own cells say: documents, losses, columns that count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from trimllm_paper.layout import Column
from trimllm_paper.recipe import FULL_FT
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
                f"{block.label}: points of Full-FT above chance / a bag of words / the pretrained "
                f"model: {', '.join(told)}. Shares of it (in the CSV, also of what lies above "
                f"chance) count by {ABOVE_CHANCE} and {ABOVE_WORDS} of the first two: "
                f"{', '.join(counts) or 'none'}"
            )


def losses(columns: Columns, blocks: Blocks) -> Iterator[str]:
    """A line a block: answer loss by row and column."""
    for block in blocks:
        found = {
            _titled(line): [line.cells[one.key].details.get("answer_loss") for one in columns]
            for line in block.rows
        }
        known = {row: each for row, each in found.items() if any(x is not None for x in each)}
        if known:
            heads = " / ".join(column.label for column in columns)
            rows = (
                f"{row} {' / '.join('–' if x is None else f'{x:.2f}' for x in each)}"
                for row, each in known.items()
            )
            yield f"{block.label}: nats a token of the right answers, {heads}: {'; '.join(rows)}"


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


def _titled(line: Line) -> str:
    """A row's label, with the section that tells it from a row of the same label."""
    return f"{line.label} ({line.section})" if line.section else line.label
