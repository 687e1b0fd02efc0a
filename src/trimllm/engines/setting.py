"""What is measured in an engine, and how."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from trimllm.base.errors import UserError
from trimllm.throughput.result import Protocol

Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Model:
    """A model in a format.

    Attributes:
        recipe: its name.
        format: one of `FORMATS`.
        path: what the engine loads: a folder, or a GGUF file.
        checkpoint: the dense checkpoint that it was made of.
        full: whether the others of its format are compared with it.
        proof: what is known of its parity with transformers, recorded as it is.
    """

    recipe: str
    format: str
    path: str
    checkpoint: str
    full: bool = False
    proof: Record | None = None

    def __str__(self) -> str:
        return f"{self.recipe} as {self.format}"


@dataclass(frozen=True)
class Setting:
    """How all models of a measurement are run.

    Attributes:
        prompts: token ids of so many texts as the largest batch has, all of one length.
        generate: tokens written after the first.
        repeats: rounds, after one that does not count.
        batches: numbers of texts at once.
        drafts: whether the trimmed models draft for the full one, in the formats of `DRAFTING`.
    """

    prompts: Sequence[Sequence[int]]
    generate: int = 32
    repeats: int = 5
    batches: Sequence[int] = (1, 8)
    threads: int = 1
    device: str = "cpu"
    dtype: str = "bfloat16"
    trust_remote_code: bool = False
    drafts: bool = True

    def protocol(self, batch: int) -> Protocol:
        """Of one batch size."""
        prompt, repeats = len(self.prompts[0]), self.repeats
        return Protocol(prompt + self.generate, self.generate, repeats, repeats, batch)


def prompts(tokenizer: Any, texts: Iterable[str], count: int, length: int) -> list[list[int]]:
    """So many stretches of token ids out of texts, end to end and over again if they are few.

    Raises `UserError` for texts without a token.
    """
    ids = [token for text in texts for token in tokenizer(text).input_ids]
    if not ids:
        raise UserError("the held-back texts hold no token; give longer texts")
    ids *= -(-count * length // len(ids))
    return [ids[i * length : (i + 1) * length] for i in range(count)]
