"""What comes of a measurement: its protocol, figures of one model and of two, what to expect.

A token decoded at batch 1 reads every weight and the cache once, so its time goes with the bytes; a
prompt reads them once for all of its tokens, so its time goes with the operations. A speedup below
its prediction is time that does not shrink with the model.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trimllm.base.errors import UserError

PREDICTIONS = {"speedup": "read_bytes_per_token", "prefill_speedup": "prefill_operations"}
"""Measured speedup -> the figure of either model of whose ratio it should be."""


@dataclass(frozen=True)
class Protocol:
    """How often and on how many tokens.

    Attributes:
        tokens: prompt and generated tokens together.
        generate: tokens decoded in one round.
        repeats: rounds of decoding, after one that does not count.
        prefills: rounds of the prompt, after one that does not count.
        batch: texts at once.
    """

    tokens: int = 512
    generate: int = 32
    repeats: int = 5
    prefills: int = 2
    batch: int = 1

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""
        return self.tokens - self.generate

    def check(self) -> None:
        """Raise `UserError` for a protocol that times nothing."""
        if min(self.generate, self.repeats, self.prefills, self.prompt) < 1:
            raise UserError(
                f"{self.generate} of {self.tokens} tokens generated, {self.repeats} repeats and "
                f"{self.prefills} prefills: each must be at least 1, and a prompt must be left"
            )


@dataclass
class Run:
    """What the process of one model has said: `facts` of it, and seconds of every round; `products`
    are those of one token's linear layers alone."""

    facts: dict[str, Any]
    decode: list[float] = field(default_factory=list)
    prefill: list[float] = field(default_factory=list)
    products: list[float] = field(default_factory=list)


def quartiles(samples: Sequence[float]) -> dict[str, Any]:
    """Median and quartiles of the samples, with the samples themselves."""
    several = samples if len(samples) > 1 else [samples[0]] * 2
    low, middle, high = statistics.quantiles(several, n=4, method="inclusive")
    return {"median": middle, "q1": low, "q3": high, "samples": list(samples)}


def figures(
    protocol: Protocol,
    copy: float | None,
    run: Run,
    full: Run | None = None,
    *,
    matrix: float | None = None,
) -> dict[str, Any]:
    """Figures of a model, of its baseline if any, and what it gains on that, round by round.

    Tokens/s are those of all texts of a batch together, which read the weights once for all.

    Args:
        copy: bytes/s of a plain copy in the same session, where there was one.
        matrix: operations/s of a large product there.

    Beside what is measured stand its limits: `share_of_copy`, the bytes that decoding reads a
    second over `copy`, `share_of_matrix`, the operations of the prompt a second over `matrix`;
    `products_share`, of a decoded token's time that of its linear layers alone.
    """
    sizes = run.facts["bytes"]
    head = sizes["head"] or sizes["embeddings"]
    # tokens in the cache when a generated token is computed, itself included; the mean
    context = protocol.prompt + (protocol.generate + 1) / 2
    cached = protocol.batch * run.facts["kv_bytes_per_token"] * context
    read = sizes["units"] + head + cached
    decode = quartiles([protocol.batch * protocol.generate / seconds for seconds in run.decode])
    prefill = quartiles([protocol.batch * protocol.prompt / seconds for seconds in run.prefill])
    achieved = read * decode["median"] / protocol.batch
    found = run.facts | {
        "decode_tokens_per_second": decode,
        "prefill_tokens_per_second": prefill,
        "bytes": sizes | {"total": sum(sizes.values())},
        "read_bytes_per_token": read,
        "achieved_bytes_per_second": achieved,
    }
    if copy is not None:
        found["share_of_copy"] = achieved / copy
    if matrix is not None:
        rate = run.facts["prefill_operations"] * prefill["median"] / protocol.prompt
        found |= {"achieved_operations_per_second": rate, "share_of_matrix": rate / matrix}
    steps = [seconds / protocol.generate for seconds in run.decode]
    if run.products:
        each = zip(run.products, steps, strict=True)
        found["products_share"] = quartiles([products / step for products, step in each])
    if full is None:
        return found
    baseline = figures(protocol, copy, full, matrix=matrix)
    found |= {
        "baseline": baseline,
        "speedup": _gain(full.decode, run.decode),
        "prefill_speedup": _gain(full.prefill, run.prefill),
        "bandwidth_ratio": achieved / baseline["achieved_bytes_per_second"],
    }
    return found | predicted(found)


def _gain(theirs: Sequence[float], own: Sequence[float]) -> dict[str, Any]:
    return quartiles([full / seconds for full, seconds in zip(theirs, own, strict=True)])


def predicted(content: Mapping[str, Any]) -> dict[str, float]:
    """Predicted speedups of a measurement, and the shares of them that were reached.

    Args:
        content: a measurement as `session.measure` returns it.

    Returns:
        `predicted_speedup`, `share_of_predicted_speedup`, `predicted_prefill_speedup`,
        `share_of_predicted_prefill_speedup` and `predicted_by_layers`; without those whose figures
        are not recorded, and nothing for the full model itself.
    """
    found = {}
    full = content.get("baseline", {})
    for speedup, figure in PREDICTIONS.items():
        if speedup in content and figure in content and figure in full:
            ratio = full[figure] / content[figure]
            found[f"predicted_{speedup}"] = ratio
            found[f"share_of_predicted_{speedup}"] = content[speedup]["median"] / ratio
    if "products_share" in content and "products_share" in full:
        found["predicted_by_layers"] = _by_layers(content, full)
    return found


def _by_layers(content: Mapping[str, Any], full: Mapping[str, Any]) -> float:
    """The speedup, median of the rounds, if a token took its linear layers as they took alone, and
    of what lies between those of the full model the share of the units that are left."""
    left = content["units_kept"] / content["units_total"]
    rounds = (one["samples"] for one in (full["products_share"], content["products_share"]))
    each = zip(*rounds, content["speedup"]["samples"], strict=True)
    return statistics.median(1 / (left * (1 - theirs) + own / gain) for theirs, own, gain in each)
