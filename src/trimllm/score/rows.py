"""Multiple-choice questions as rows: the prompt once, its choices side by side.

Every choice sees the prompt and itself only, and its positions restart after the prompt, so a row
gives each choice the log-likelihood of a row of its own. A choice's last token predicts nothing and
is left out; the first tokens of all choices are predicted at one place, the prompt's last token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from trimllm.base.errors import UserError

Tokens = tuple[int, ...]


class Row(NamedTuple):
    """One prompt and its choices, in tokens, at least one each."""

    prompt: Tokens
    choices: tuple[Tokens, ...]

    @property
    def length(self) -> int:
        """Packed tokens."""
        return len(self.prompt) + sum(len(choice) - 1 for choice in self.choices)

    @property
    def extent(self) -> int:
        """Positions that the longest choice needs."""
        return len(self.prompt) + max(len(choice) for choice in self.choices) - 1


def fit(prompt: Sequence[int], choice: Sequence[int], room: int | None) -> Sequence[int]:
    """The end of a prompt that fits before a choice into `room` positions, cut as lm-eval does.

    The choice's last token needs no position. Raises `UserError` if the choice itself does not fit.
    """
    if room is None or len(prompt) + len(choice) - 1 <= room:
        return prompt
    if len(choice) > room:
        raise UserError(
            f"a choice of {len(choice)} tokens does not fit the model's {room} positions; leave "
            "its document out"
        )
    return prompt[len(choice) - room - 1 :]


@dataclass(frozen=True)
class Batch:
    """Rows padded on the right to one length.

    Attributes:
        rows: index in the list of rows of each; one that is cut (see `fit`) is here once a choice.
        ids, positions: (rows, length), 0 at padding.
        segments: (rows, length) 0 for the prompt, c + 1 for choice c, -1 for padding.
        places: (answer places,) tokens, counted through all rows, that need the head.
        targets: (scored tokens,) the tokens whose probability counts.
        at: (scored tokens,) which answer place predicts each.
        choice: (scored tokens,) which choice, counted through the whole list, each belongs to.
    """

    rows: list[int]
    ids: Tensor
    positions: Tensor
    segments: Tensor
    places: Tensor
    targets: Tensor
    at: Tensor
    choice: Tensor

    @property
    def tokens(self) -> int:
        """Tokens that run, padding included."""
        return self.ids.numel()

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """(rows, 1, length, length), added to attention scores: 0 where a token looks, else -inf.

        Padding sees the prompt, since a softmax over nothing is not a number.
        """
        mine, other = self.segments[:, :, None], self.segments[:, None, :]
        order = torch.arange(self.ids.shape[1], device=self.ids.device)
        seen = (order[:, None] >= order) & ((other == 0) | (other == mine))
        if window is not None:
            seen &= self.positions[:, :, None] - self.positions[:, None, :] < window
            seen |= torch.eye(len(order), dtype=torch.bool, device=seen.device)
        # Additive: a boolean mask sends float32 attention down a slow path on CPUs.
        zero = torch.zeros((), dtype=dtype, device=seen.device)
        return torch.where(seen, zero, float("-inf"))[:, None]


def _pieces(rows: Sequence[Row], room: int | None) -> Iterator[tuple[int, int, Row]]:
    """(index, first choice, row) of each row that runs; a row that is cut runs once a choice."""
    first = 0
    for index, row in enumerate(rows):
        if room is None or row.extent <= room:
            yield index, first, row
        else:
            for number, choice in enumerate(row.choices, first):
                yield index, number, Row(tuple(fit(row.prompt, choice, room)), (choice,))
        first += len(row.choices)


def batch_of(pieces: Sequence[tuple[int, int, Row]], device: torch.device | str) -> Batch:
    """Rows as tensors. A piece: the row's index, the index of its first choice, the row."""
    length = max(row.length for _, _, row in pieces)
    cells: list[tuple[int, int, int]] = []  # id, position, segment
    scored: list[tuple[int, int, int]] = []  # target, at, choice
    places: list[int] = []
    for _, first, row in pieces:
        start, width, prompt_end = len(cells), len(row.prompt), len(places)
        cells += [(token, position, 0) for position, token in enumerate(row.prompt)]
        places.append(len(cells) - 1)
        for index, choice in enumerate(row.choices):
            end = len(cells) + len(choice) - 1
            at = [prompt_end, *range(len(places), len(places) + len(choice) - 1)]
            scored += zip(choice, at, [first + index] * len(choice), strict=True)
            places += range(len(cells), end)
            cells += [(token, width + n, index + 1) for n, token in enumerate(choice[:-1])]
        cells += [(0, 0, -1)] * (start + length - len(cells))
    grid = torch.tensor(cells, device=device).T.reshape(3, len(pieces), length)
    columns = (places, *zip(*scored, strict=True))
    tensors = (torch.tensor(column, device=device) for column in columns)
    return Batch([index for index, _, _ in pieces], *grid, *tensors)


def batches(
    rows: Sequence[Row], token_budget: int, room: int | None, device: torch.device | str
) -> Iterator[Batch]:
    """Cut rows, sorted by length, into batches of at most `token_budget` tokens (or one row).

    A batch's longest row is at most an eighth longer than its shortest, so there is little padding.

    Args:
        room: positions of the model; longer prompts lose their left end (see `fit`).
    """
    pieces: list[tuple[int, int, Row]] = []
    longest = 0
    for piece in sorted(_pieces(rows, room), key=lambda piece: piece[2].length):
        length = piece[2].length
        if pieces and ((len(pieces) + 1) * length > token_budget or length > longest):
            yield batch_of(pieces, device)
            pieces = []
        longest = longest if pieces else length + length // 8
        pieces.append(piece)
    if pieces:
        yield batch_of(pieces, device)
