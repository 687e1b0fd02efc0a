"""Multiple-choice questions as packed rows: the prompt once, its choices side by side.

Every choice sees the prompt and itself only, and its positions restart after the prompt, so a
packed row gives each choice the log-likelihood that a row of its own would give. A choice's last
token predicts nothing that is asked for and is left out, and the first tokens of all choices are
predicted at one place, the prompt's last token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

# From this number of streams on, attention takes one row at a time.
MANY_STREAMS = 8


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

    @property
    def answer_places(self) -> int:
        """Places of the row at which the head is needed."""
        return 1 + self.length - len(self.prompt)


@dataclass
class Batch:
    """Rows laid end to end, without padding, sorted so that rows of one length are neighbours.

    Attributes:
        order: index of each row in the list that it came from.
        ids, positions: (tokens,)
        groups: (first token, rows, tokens a row) of every run of rows of one length.
        segments: per group (rows, tokens a row): 0 for the prompt, c + 1 for choice c.
        places: (answer places,) indices of the tokens at which the head is needed.
        targets: (scored tokens,) the tokens whose probability counts.
        at: (scored tokens,) which answer place predicts each of them.
        choice_of: (scored tokens,) which choice, counted through the batch, each belongs to.
        choices: number of choices of each row, in batch order.
    """

    order: list[int]
    ids: Tensor
    positions: Tensor
    groups: list[tuple[int, int, int]]
    segments: list[Tensor]
    places: Tensor
    targets: Tensor
    at: Tensor
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
        streams, _, heads, width = query.shape
        for number, (first, rows, length) in enumerate(self.groups):
            # With many streams a row is work enough for a call, and taken by itself it is a view;
            # with few, rows of one length go together.
            together = rows if streams < MANY_STREAMS else 1
            mask = self._mask(number, window, query)
            for start in range(0, rows, together):
                place = slice(first + start * length, first + (start + together) * length)
                shape = (streams * together, length, -1, width)
                mixed = F.scaled_dot_product_attention(
                    query[:, place].reshape(shape).transpose(1, 2),
                    key[:, place].reshape(shape).transpose(1, 2),
                    value[:, place].reshape(shape).transpose(1, 2),
                    attn_mask=mask[start : start + together].repeat(
                        streams if together > 1 else 1, 1, 1, 1
                    ),
                    scale=scaling,
                    enable_gqa=key.shape[2] != heads,
                )
                output[:, place] = mixed.transpose(1, 2).reshape(streams, -1, heads, width)

    def _mask(self, group: int, window: int | None, like: Tensor) -> Tensor:
        """(rows, 1, length, length), 0 where a token may look and -inf elsewhere.

        An additive mask: a boolean one sends float32 attention down a slow path on CPUs.
        """
        first, rows, length = self.groups[group]
        if window is not None and window >= length:
            window = None
        if (mask := self.masks.get((group, window))) is None:
            segments = self.segments[group]
            place = torch.arange(length, device=like.device)
            mine, other = segments[:, :, None], segments[:, None, :]
            seen = (place[:, None] >= place[None, :]) & ((other == 0) | (other == mine))
            if window is not None:
                at = self.positions[first : first + rows * length].view(rows, length)
                seen &= at[:, :, None] - at[:, None, :] < window
            mask = torch.zeros(seen.shape, dtype=like.dtype, device=like.device)
            mask = mask.masked_fill_(~seen, float("-inf"))[:, None]
            self.masks[group, window] = mask
        return mask


def batch_of(rows: Sequence[Row], order: Sequence[int], device: torch.device | str) -> Batch:
    """Lay the rows named by `order` end to end (see `Batch`)."""
    ids, positions, segments, places, targets, at, choice_of = ([] for _ in range(7))
    lengths, choices_seen = [], 0
    for index in order:
        row = rows[index]
        start, width = len(ids), len(row.prompt)
        ids += row.prompt
        positions += range(width)
        segments += [0] * width
        places.append(start + width - 1)
        first_place = len(places) - 1
        for number, choice in enumerate(row.choices):
            for step, token in enumerate(choice):
                at.append(first_place if step == 0 else len(places) - 1)
                targets.append(token)
                choice_of.append(choices_seen + number)
                if step < len(choice) - 1:
                    places.append(len(ids))
                    ids.append(token)
                    positions.append(width + step)
                    segments.append(number + 1)
        choices_seen += len(row.choices)
        lengths.append(row.length)
    groups, first = [], 0
    for length in lengths:
        if groups and groups[-1][2] == length:
            groups[-1] = (groups[-1][0], groups[-1][1] + 1, length)
        else:
            groups.append((first, 1, length))
        first += length

    def tensor(values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    where = tensor(segments)
    return Batch(
        order=list(order),
        ids=tensor(ids),
        positions=tensor(positions),
        groups=groups,
        segments=[where[s : s + n * length].view(n, length) for s, n, length in groups],
        places=tensor(places),
        targets=tensor(targets),
        at=tensor(at),
        choice_of=tensor(choice_of),
        choices=[len(rows[index].choices) for index in order],
    )


def batches(rows: Sequence[Row], token_budget: int, device: torch.device | str) -> Iterator[Batch]:
    """Cut rows, sorted by length, into batches of at most `token_budget` tokens (or one row)."""
    order = sorted(range(len(rows)), key=lambda index: (rows[index].length, index))
    start = 0
    while start < len(order):
        end, tokens = start, 0
        while end < len(order) and (
            end == start or tokens + rows[order[end]].length <= token_budget
        ):
            tokens += rows[order[end]].length
            end += 1
        yield batch_of(rows, order[start:end], device)
        start = end
