"""Which units of a shape are dropped, where no training has chosen them.

How fast a trimmed model is depends on what was dropped: at the 1B shape an MLP holds 3.7 times the
weights of an attention. A pattern is therefore always named with its result:

- a number: the share of attention units among the dropped ones, spread evenly over the blocks
  (0.5 is half attention and half MLP);
- the record of a real chain (JSON lines, one epoch a line): units go in the chain's order, its
  blocks stretched or shrunk to the shape's number of blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trimllm.base.errors import UserError
from trimllm.base.files import check_seal, read_jsonl
from trimllm.base.kept import drops_for

Place = tuple[int, str]
"""Block and kind ("attention" or "mlp") of a unit."""
KINDS = ("attention", "mlp")


def kept_units(blocks: int, kept_percent: float, pattern: float | str | Path) -> list[Place]:
    """Units that are left of a model of `blocks` blocks, in the order of the data.

    Raises `UserError` for a pattern that cannot drop so many units.
    """
    drops = drops_for(kept_percent, 2 * blocks)
    if drops is None:
        raise UserError(f"{kept_percent:g}% of {2 * blocks} units is no number of units")
    if isinstance(pattern, int | float):
        gone = spread(blocks, drops, float(pattern))
    else:
        gone = scaled_chain(*read_chain(pattern), blocks)[:drops]
        if len(gone) < drops:
            raise UserError(
                f"{pattern} dropped {len(gone)} units at most when scaled to {blocks} blocks, "
                f"{kept_percent:g}% needs {drops}; name a longer chain or a larger kept fraction"
            )
    left = set(gone)
    return [(b, kind) for b in range(blocks) for kind in KINDS if (b, kind) not in left]


def spread(blocks: int, drops: int, attention_share: float) -> list[Place]:
    """Drop so many units, evenly over the blocks, so large a share of them attention."""
    if not 0 <= attention_share <= 1:
        raise UserError(f"share of attention units {attention_share:g} is not between 0 and 1")
    attention = min(round(drops * attention_share), blocks)
    counts = {"attention": max(attention, drops - blocks)}
    counts["mlp"] = drops - counts["attention"]
    return [
        ((2 * i + 1) * blocks // (2 * count), kind)
        for kind, count in counts.items()
        for i in range(count)
    ]


def read_chain(path: str | Path) -> tuple[int, list[Place]]:
    """Blocks of a recorded chain's model, and its units in the order in which they went."""
    epochs = read_jsonl(path)
    for one in epochs:
        check_seal(path, one)
    try:
        order = [(int(b), str(kind)) for epoch in epochs for b, kind in epoch["units_dropped"]]
        blocks = int(epochs[0]["units_total"]) // 2
    except (KeyError, TypeError, ValueError, IndexError):
        raise UserError(f"{path} is no record of a trim chain (one epoch a line)") from None
    if len(set(order)) != len(order) or not order or not blocks:
        raise UserError(f"{path} drops no unit, or one of them twice")
    return blocks, order


def scaled_chain(chain_blocks: int, order: Sequence[Place], blocks: int) -> list[Place]:
    """A chain's order on a model of another depth.

    Block b of the model stands for block ⌊b · chain blocks / blocks⌋ of the chain; a unit goes when
    its unit of the chain went.
    """
    rank = {unit: number for number, unit in enumerate(order)}
    stands_for = {
        (b, kind): (b * chain_blocks // blocks, kind) for b in range(blocks) for kind in KINDS
    }
    going = [unit for unit in stands_for if stands_for[unit] in rank]
    return sorted(going, key=lambda unit: (rank[stands_for[unit]], unit))
