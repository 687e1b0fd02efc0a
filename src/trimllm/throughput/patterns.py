"""Which units of a shape are dropped, where no training has chosen them.

How fast a trimmed model is depends on what was dropped: at the 1B shape an MLP holds 3.7 times the
weights of an attention. A pattern is therefore always named with its result:

- a number: the share of attention units among the dropped ones, spread evenly over the blocks
  (0.5 is half attention and half MLP);
- a `Chain`: units go in the order of a real chain, its blocks stretched or shrunk to the shape's
  number of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for

Place = tuple[int, str]
"""Block and kind ("attention" or "mlp") of a unit."""
KINDS = ("attention", "mlp")


@dataclass(frozen=True)
class Chain:
    """What a real chain dropped.

    Attributes:
        blocks: of the chain's model.
        order: its units in the order in which they went.
    """

    blocks: int
    order: tuple[Place, ...]

    def scaled(self, blocks: int) -> list[Place]:
        """The order on a model of another depth.

        Block b of the model stands for block ⌊b · chain blocks / blocks⌋ of the chain; a unit goes
        when its unit of the chain went.
        """
        rank = {unit: number for number, unit in enumerate(self.order)}
        going = [
            (rank[stands_for], (block, kind))
            for block in range(blocks)
            for kind in KINDS
            if (stands_for := (block * self.blocks // blocks, kind)) in rank
        ]
        return [unit for _, unit in sorted(going)]


def kept_units(blocks: int, kept_percent: float, pattern: float | Chain) -> list[Place]:
    """Units that are left of a model of `blocks` blocks, in the order of the data.

    Raises `UserError` for a pattern that cannot drop so many units.
    """
    drops = drops_for(kept_percent, 2 * blocks)
    if drops is None:
        raise UserError(f"{kept_percent:g}% of {2 * blocks} units is no number of units")
    if isinstance(pattern, Chain):
        gone = pattern.scaled(blocks)[:drops]
        if len(gone) < drops:
            raise UserError(
                f"the chain dropped {len(gone)} units at most when scaled to {blocks} blocks, "
                f"{kept_percent:g}% needs {drops}; name a longer chain or a larger kept fraction"
            )
    else:
        gone = spread(blocks, drops, float(pattern))
    return [(b, kind) for b in range(blocks) for kind in KINDS if (b, kind) not in gone]


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
