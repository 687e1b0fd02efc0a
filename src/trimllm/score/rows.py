"""Multiple-choice questions as rows: the prompt once, its choices side by side.

Every choice sees the prompt and itself only, and its positions restart after the prompt, so a row
gives each choice the log-likelihood of a row of its own. A choice's last token predicts nothing and
is left out; the first tokens of all choices are predicted at one place, the prompt's last token.
"""

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


Piece = tuple[int, int, Row]
"""A row that runs: its index, the index of its first choice among those of all rows, itself."""


def fit(prompt: Sequence[int], choice: Sequence[int], room: int | None) -> Sequence[int]:
    """The end of a prompt that fits before a choice into `room` positions, cut as lm-eval does: the
    choice's last token needs none. Raises `UserError` if the choice itself does not fit."""
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
    """Rows padded on the right to one length; a place is a token, counted through all rows."""

    rows: list[int]  # index of each in the list of rows; of one that is cut once a choice
    counts: list[int]  # choices of each
    ids: Tensor  # (rows, length) as are the next two; 0 at padding
    positions: Tensor  # 0 at padding
    segments: Tensor  # 0 for the prompt, c + 1 for choice c, -1 for padding
    places: Tensor  # (answer places,) that need the head
    targets: Tensor  # (scored tokens,) whose probability counts
    at: Tensor  # (scored tokens,) which answer place predicts each
    choice: Tensor  # (scored tokens,) which choice, counted through all rows, each belongs to

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """(rows, 1, length, length), added to attention scores: 0 where a token looks, else -inf.
        Padding sees the prompt, since a softmax over nothing is not a number."""
        mine, other = self.segments[:, :, None], self.segments[:, None, :]
        order = torch.arange(self.ids.shape[1], device=self.ids.device)
        seen = (order[:, None] >= order) & ((other == 0) | (other == mine))
        if window is not None:
            seen &= self.positions[:, :, None] - self.positions[:, None, :] < window
            seen |= torch.eye(len(order), dtype=torch.bool, device=seen.device)
        # Additive: a boolean mask sends float32 attention down a slow path on CPUs.
        zero = torch.zeros((), dtype=dtype, device=seen.device)
        return torch.where(seen, zero, float("-inf"))[:, None]


def pieces_of(rows: Sequence[Row], room: int | None = None) -> Iterator[Piece]:
    """Each row that runs; one that has no `room` positions is cut (see `fit`) and runs once a
    choice."""
    first = 0
    for index, row in enumerate(rows):
        if room is None or len(row.prompt) + max(map(len, row.choices)) - 1 <= room:
            yield index, first, row
        else:
            for number, choice in enumerate(row.choices, first):
                yield index, number, Row(tuple(fit(row.prompt, choice, room)), (choice,))
        first += len(row.choices)


def batch_of(pieces: Sequence[Piece], device: torch.device | str) -> Batch:
    """Rows as tensors."""
    length = max(row.length for _, _, row in pieces)
    cells: list[tuple[int, int, int]] = []  # id, position, segment
    scored: list[tuple[int, int, int]] = []  # target, at, choice
    places: list[int] = []
    for _, first, row in pieces:
        start, width, prompt_end = len(cells), len(row.prompt), len(places)
        cells += [(token, position, 0) for position, token in enumerate(row.prompt)]
        places.append(len(cells) - 1)
        for index, choice in enumerate(row.choices):
            at = [prompt_end, *range(len(places), len(places) + len(choice) - 1)]
            scored += zip(choice, at, [first + index] * len(choice), strict=True)
            places += range(len(cells), len(cells) + len(choice) - 1)
            cells += [(token, width + n, index + 1) for n, token in enumerate(choice[:-1])]
        cells += [(0, 0, -1)] * (start + length - len(cells))
    grid = torch.tensor(cells, device=device).T.reshape(3, len(pieces), length)
    columns = (places, *zip(*scored, strict=True))
    tensors = (torch.tensor(column, device=device) for column in columns)
    counts = [len(row.choices) for _, _, row in pieces]
    return Batch([index for index, _, _ in pieces], counts, *grid, *tensors)


def batches(
    rows: Sequence[Row], token_budget: int, room: int | None, device: torch.device | str
) -> Iterator[Batch]:
    """Rows, sorted by length and cut to the model's `room` positions, in batches of at most
    `token_budget` tokens (or one row). A batch's longest row is at most an eighth longer than its
    shortest, so there is little padding."""
    pieces: list[Piece] = []
    longest = 0
    for piece in sorted(pieces_of(rows, room), key=lambda piece: piece[2].length):
        length = piece[2].length
        if pieces and ((len(pieces) + 1) * length > token_budget or length > longest):
            yield batch_of(pieces, device)
            pieces = []
        longest = longest if pieces else length + length // 8
        pieces.append(piece)
    if pieces:
        yield batch_of(pieces, device)
