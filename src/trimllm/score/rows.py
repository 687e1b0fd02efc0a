"""Multiple-choice questions as packed rows: the prompt once, its choices side by side.

Every choice sees the prompt and itself only, and its positions restart after the prompt, so a
packed row gives each choice the log-likelihood that a row of its own would give. A choice's last
token predicts nothing that is asked for and is left out, and the first tokens of all choices are
predicted at one place, the prompt's last token. What all prompts of a batch begin with runs once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, takewhile

import torch
import torch.nn.functional as F
from torch import Tensor

# From this number of streams on, attention takes one row at a time.
MANY_STREAMS = 8
# Up to so many scores, batched products are faster on a CPU than its fused attention: twice for
# rows of 30 tokens, half as fast for rows of 200.
FEW_SCORES = 1 << 21


@dataclass(frozen=True)
class Row:
    """One prompt and its choices, in tokens.

    Attributes:
        prompt: at least one token.
        choices: each at least one token.
    """

    prompt: tuple[int, ...]
    choices: tuple[tuple[int, ...], ...]

    @property
    def length(self) -> int:
        """Packed tokens."""
        return len(self.prompt) + sum(len(choice) - 1 for choice in self.choices)

    @property
    def extent(self) -> int:
        """Positions that the longest choice needs."""
        return len(self.prompt) + max(len(choice) for choice in self.choices) - 1


@dataclass(frozen=True)
class Group:
    """A run of rows of one length that lie next to each other in a batch.

    Attributes:
        first: index of the run's first token.
        rows, length: number of rows, tokens of each without the shared prefix.
        shared: tokens of the prefix that they all look back to; 0 for the prefix itself.
        segments: (rows, length) 0 for the prompt, c + 1 for choice c.
    """

    first: int
    rows: int
    length: int
    shared: int
    segments: Tensor


@dataclass
class Batch:
    """Rows laid end to end, without padding, sorted so that rows of one length are neighbours.

    What all prompts of a batch begin with stands once, in front: it is the same in every row.

    Attributes:
        order: index of each row in the list that it came from.
        shared: tokens of the common beginning.
        ids, positions: (tokens,)
        groups: the shared beginning, if any, then every run of rows of one length.
        places: (answer places,) indices of the tokens at which the head is needed.
        targets: (scored tokens,) the tokens whose probability counts.
        at: (scored tokens,) which answer place predicts each of them, ascending.
        common: (scored tokens,) whether all choices of the row, two or more, begin at this place,
            so that its normalizer is no difference between them.
        choice_of: (scored tokens,) which choice, counted through the batch, each belongs to.
        choices: number of choices of each row, in batch order.
    """

    order: list[int]
    shared: int
    ids: Tensor
    positions: Tensor
    groups: list[Group]
    places: Tensor
    targets: Tensor
    at: Tensor
    common: Tensor
    choice_of: Tensor
    choices: list[int]
    masks: dict[tuple[int, int | None], Tensor] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return len(self.ids)

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        scaling: float,
        window: int | None,
        output: Tensor,
    ) -> None:
        """Attention inside every row; all tensors (streams, tokens, heads, head width)."""
        streams = len(query)
        for number, group in enumerate(self.groups):
            # With many streams a row is work enough for a call, and taken by itself it is a view;
            # with few, rows of one length go together.
            together = group.rows if streams < MANY_STREAMS else 1
            mask = self._mask(number, window, query)
            for start in range(0, group.rows, together):
                at = group.first + start * group.length
                place = slice(at, at + together * group.length)
                rows = (streams, together, group.length)
                mixed = _attention(
                    query[:, place].unflatten(1, rows[1:]).flatten(0, 1).transpose(1, 2),
                    _looked_at(key, place, rows, group.shared).transpose(1, 2),
                    _looked_at(value, place, rows, group.shared).transpose(1, 2),
                    mask[start : start + together],
                    scaling,
                )
                own = output[:, place].unflatten(1, rows[1:])
                own.copy_(mixed.transpose(1, 2).unflatten(0, rows[:2]))

    def _mask(self, number: int, window: int | None, like: Tensor) -> Tensor:
        """(rows, 1, length, shared + length), 0 where a token may look and -inf elsewhere.

        An additive mask: a boolean one sends float32 attention down a slow path on CPUs.
        """
        group = self.groups[number]
        if (mask := self.masks.get((number, window))) is None:
            segments = F.pad(group.segments, (group.shared, 0))
            place = torch.arange(segments.shape[1], device=like.device)
            mine, other = segments[:, group.shared :, None], segments[:, None, :]
            causal = place[group.shared :, None] >= place[None, :]
            seen = causal & ((other == 0) | (other == mine))
            if window is not None:
                own = self.positions[group.first :][: group.rows * group.length]
                own = own.view(group.rows, group.length)
                before = self.positions[: group.shared].expand(group.rows, -1)
                seen &= own[:, :, None] - torch.cat([before, own], 1)[:, None, :] < window
            mask = torch.zeros(seen.shape, dtype=like.dtype, device=like.device)
            mask = mask.masked_fill_(~seen, float("-inf"))[:, None]
            self.masks[number, window] = mask
        return mask


def _attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """Attention of rows (rows, heads, length, head width), with float32 scores."""
    rows, heads, length, width = query.shape
    _, shared_heads, seen, _ = key.shape
    if query.device.type != "cpu" or rows * heads * length * seen > FEW_SCORES:
        mask = mask if len(mask) == 1 else mask.repeat(rows // len(mask), 1, 1, 1)
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, scale=scaling, enable_gqa=shared_heads != heads
        )
    # Heads that share a key are one product: (rows x shared heads, heads of each x length, ...).
    asking = query.float().reshape(rows * shared_heads, -1, width)
    scores = torch.bmm(asking, key.float().reshape(rows * shared_heads, seen, width).mT)
    each = scores.view(-1, len(mask), heads, length, seen).mul_(scaling).add_(mask)
    weights = each.softmax(-1).to(value.dtype).view(rows * shared_heads, -1, seen)
    mixed = torch.bmm(weights, value.reshape(rows * shared_heads, seen, width))
    return mixed.view(rows, heads, length, width)


def _looked_at(tensor: Tensor, place: slice, rows: tuple[int, int, int], shared: int) -> Tensor:
    """Keys or values of rows (streams, rows, length), each after those of the shared prefix.

    (streams, tokens, heads, width) -> (streams x rows, shared + length, heads, width)
    """
    own = tensor[:, place].unflatten(1, rows[1:])
    if shared:
        before = tensor[:, None, :shared].expand(-1, rows[1], -1, -1, -1)
        own = torch.cat([before, own], dim=2)
    return own.flatten(0, 1)


def common_prefix(rows: Sequence[Row]) -> int:
    """Tokens that several prompts have in common at their beginning.

    At most all but one: a row keeps its last prompt token, which its choices follow.
    """
    if len(rows) < 2:
        return 0
    places = zip(*(row.prompt for row in rows), strict=False)
    alike = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, places))
    return min(alike, min(len(row.prompt) for row in rows) - 1)


def batch_of(rows: Sequence[Row], order: Sequence[int], device: torch.device | str) -> Batch:
    """Lay the rows named by `order` end to end (see `Batch`)."""
    chosen = [rows[index] for index in order]
    shared = common_prefix(chosen)
    ids, positions = list(chosen[0].prompt[:shared]), list(range(shared))
    segments = [0] * shared
    places: list[int] = []
    scored: list[tuple[int, int, bool, int]] = []  # target, at, common, choice_of
    choices = 0
    for row in chosen:
        width = len(row.prompt)
        ids += row.prompt[shared:]
        positions += range(shared, width)
        segments += [0] * (width - shared)
        first = len(places)
        places.append(len(ids) - 1)
        several = len(row.choices) > 1
        scored += [(choice[0], first, several, choices + c) for c, choice in enumerate(row.choices)]
        for number, choice in enumerate(row.choices, start=1):
            later = enumerate(choice[1:], start=len(places))
            scored += [(token, place, False, choices) for place, token in later]
            run = len(choice) - 1  # all but its last token
            places += range(len(ids), len(ids) + run)
            ids += choice[:-1]
            positions += range(width, width + run)
            segments += [number] * run
            choices += 1

    def tensor(values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    where = tensor(segments)
    groups = [Group(0, 1, shared, 0, where[None, :shared])] if shared else []
    start = shared
    for length, alike in groupby(row.length - shared for row in chosen):
        count = len(list(alike))
        cut = where[start : start + count * length].view(count, length)
        groups.append(Group(start, count, length, shared, cut))
        start += count * length
    targets, at, common, choice_of = map(tensor, zip(*scored, strict=True))
    return Batch(
        order=list(order),
        shared=shared,
        ids=tensor(ids),
        positions=tensor(positions),
        groups=groups,
        places=tensor(places),
        targets=targets,
        at=at,
        common=common.bool(),
        choice_of=choice_of,
        choices=[len(row.choices) for row in chosen],
    )


def batches(rows: Sequence[Row], token_budget: int, device: torch.device | str) -> Iterator[Batch]:
    """Cut rows, sorted by length, into batches of at most `token_budget` tokens (or one row)."""
    order: list[int] = []
    tokens = 0
    for index in sorted(range(len(rows)), key=lambda index: (rows[index].length, index)):
        if order and tokens + rows[index].length > token_budget:
            yield batch_of(rows, order, device)
            order, tokens = [], 0
        order.append(index)
        tokens += rows[index].length
    if order:
        yield batch_of(rows, order, device)
