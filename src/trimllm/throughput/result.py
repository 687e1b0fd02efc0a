"""What comes of a measurement: its protocol, and the figures of one model and of two together."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trimllm.base.errors import UserError
from trimllm.throughput.predict import predicted


@dataclass(frozen=True)
class Protocol:
    """How often and on how many tokens.

    Attributes:
        tokens: prompt and generated tokens together.
        generate: tokens decoded in one round.
        repeats: rounds of decoding, after one that does not count.
        prefills: rounds of the prompt, after one that does not count.
    """

    tokens: int = 512
    generate: int = 32
    repeats: int = 5
    prefills: int = 2

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return self.tokens - self.generate

    @property
    def mean_context(self) -> float:
        """Tokens in the cache when a generated token is computed, itself included; the mean."""
        return self.prompt + (self.generate + 1) / 2

    def check(self) -> None:
        """Raise `UserError` for a protocol that times nothing."""
        if min(self.generate, self.repeats, self.prefills, self.prompt) < 1:
            raise UserError(
                f"{self.generate} of {self.tokens} tokens generated, {self.repeats} repeats and "
                f"{self.prefills} prefills: each must be at least 1, and a prompt must be left"
            )


@dataclass
class Run:
    """What the process of one model has said: `facts` of it, and seconds of every round."""

    facts: dict[str, Any]
    decode: list[float] = field(default_factory=list)
    prefill: list[float] = field(default_factory=list)


def quartiles(samples: Sequence[float]) -> dict[str, Any]:
    """Median and quartiles of the samples, with the samples themselves."""
    several = samples if len(samples) > 1 else [samples[0]] * 2
    low, middle, high = statistics.quantiles(several, n=4, method="inclusive")
    return {"median": middle, "q1": low, "q3": high, "samples": list(samples)}


def of_one(run: Run, protocol: Protocol, copy: float) -> dict[str, Any]:
    """Figures of one model: tokens/s, bytes, what a token reads and how fast that was.

    Args:
        copy: bytes/s of a plain copy in the same session.
    """
    sizes = run.facts["bytes"]
    head = sizes["head"] or sizes["embeddings"]
    read = sizes["units"] + head + run.facts["kv_bytes_per_token"] * protocol.mean_context
    decode = quartiles([protocol.generate / seconds for seconds in run.decode])
    achieved = read * decode["median"]
    return run.facts | {
        "decode_tokens_per_second": decode,
        "prefill_tokens_per_second": quartiles([protocol.prompt / s for s in run.prefill]),
        "bytes": sizes | {"total": sum(sizes.values())},
        "read_bytes_per_token": read,
        "achieved_bytes_per_second": achieved,
        "share_of_copy": achieved / copy,
    }


def of_two(run: Run, full: Run, protocol: Protocol, copy: float) -> dict[str, Any]:
    """Figures of a model, of its baseline, and what it gains on that, round by round."""
    found, baseline = (of_one(one, protocol, copy) for one in (run, full))
    decodes = zip(full.decode, run.decode, strict=True)
    prefills = zip(full.prefill, run.prefill, strict=True)
    achieved = "achieved_bytes_per_second"
    found |= {
        "baseline": baseline,
        "speedup": quartiles([theirs / own for theirs, own in decodes]),
        "prefill_speedup": quartiles([theirs / own for theirs, own in prefills]),
        "bandwidth_ratio": found[achieved] / baseline[achieved],
    }
    return found | predicted(found)
