"""Records of a run on one's own data: what checkpoints answer, which one was chosen and why.

Like those of `records`; nobody else opens such a file.
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from trimllm_paper.records import OfRecipe, Part, Record


class Answer(Part):
    """A held-back document, and what a checkpoint answers."""

    prompt: str
    message: str | None = None  # what is asked in its place, where it is asked as a chat
    right: str  # the answer that is right, of free ones the reference
    said: str  # the choice that it takes, or what it writes
    correct: bool  # of free answers: equal up to letter case and punctuation
    f1: float | None = None  # of the words of free answers, 0 to 1


class Answers(OfRecipe):
    """What a checkpoint of a run on one's own data says of a few held-back documents, and how well
    it still knows other text (`trimllm_paper.own.answers`)."""

    PLACED = ("model", "recipe")
    domain: str
    documents: list[Answer]
    perplexity: float  # of the neutral text, and its tokens
    tokens: int


class Candidate(Part):
    """A checkpoint that may be chosen, by what is known of it without any test document."""

    recipe: str
    free: bool  # whether answers are free text
    accuracy: float  # percent of held-back documents; of free answers the next, in percent
    likelihood: float  # as in HeldBackScore; e to it is the probability of a right token, or choice
    documents: int
    bytes: int  # of the export, as far as it is known before
    tokens_per_second: float  # median
    units_kept: int


class Choice(Record):
    """Which checkpoint was chosen, of which, and why (`trimllm_paper.own.choice`)."""

    PLACED = ("model",)
    domain: str
    hardware: str  # where speed was measured
    format: str  # of the export
    wanted: dict[str, float]
    candidates: list[Candidate]  # full_ft first
    recipe: str
    missed: dict[str, float]  # what was wanted and is not met -> by which share; empty: all is met
    told: str  # in one line

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.recipe not in [one.recipe for one in self.candidates]:
            raise ValueError(f"{self.recipe} is none of the candidates")
        return self

    @property
    def chosen(self) -> Candidate:
        """The one that was chosen."""
        return next(one for one in self.candidates if one.recipe == self.recipe)
