"""Figures of one model, alone or over the full one, from the rounds in which both were timed."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Speedup -> the figure whose ratio, full over trimmed, predicts it: a token's time goes with the
# bytes that it reads, a prompt's with its operations.
PREDICTIONS = {"speedup": "read_bytes_per_token", "prefill_speedup": "prefill_operations"}
LEVEL = 0.95  # of the intervals


@dataclass(frozen=True)
class Protocol:
    """How often, and on what, every model of a session is timed."""

    prompt: int = 480  # tokens
    generate: int = 32  # tokens after the prompt's next one
    repeats: int = 6  # rounds, after one that does not count
    batches: tuple[int, ...] = (1,)  # numbers of texts at once


@dataclass
class Run:
    """Facts of a model, and seconds of its prompt and of decoding, by round."""

    facts: dict[str, Any]
    prefill: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """Median of positive samples, the samples, and (of two or more) `low` and `high`, the 95%
    interval of their typical value: Student's t on their logarithms."""
    content = {"median": statistics.median(samples), "samples": list(samples)}
    if len(samples) > 1:
        from scipy.special import stdtrit  # planning imports this module, and no scipy

        logs = [math.log(sample) for sample in samples]
        middle, t = statistics.fmean(logs), float(stdtrit(len(logs) - 1, (1 + LEVEL) / 2))
        half = t * statistics.stdev(logs) / math.sqrt(len(logs))
        content |= {"low": math.exp(middle - half), "high": math.exp(middle + half)}
    return content


def figures(
    protocol: Protocol,
    batch: int,
    run: Run,
    full: Run | None = None,
    rates: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """The facts of a model and its figures; with `full` (the full model's run) also that model's
    (`baseline`) and what the model gains over it, by round; with `rates` (the machine's own in the
    same rounds, bytes/s of a copy and operations/s of a matrix product) the shares of these that
    decoding and the prompt reach. A step of decoding reads the weights once and every text's cache.
    """
    sizes = run.facts["bytes"]
    # Tokens in the cache when a generated token is computed, itself included; the mean.
    context = protocol.prompt + (protocol.generate + 1) / 2
    cached = batch * run.facts["kv_bytes_per_token"] * context
    read = sizes["units"] + (sizes["head"] or sizes["embeddings"]) + cached
    decode = summary([batch * protocol.generate / seconds for seconds in run.decode])
    prefill = summary([batch * protocol.prompt / seconds for seconds in run.prefill])
    content = run.facts | {
        "decode_tokens_per_second": decode,  # of all texts of the batch together
        "prefill_tokens_per_second": prefill,
        "bytes": sizes | {"total": sum(sizes.values())},
        "read_bytes_per_token": read,
        "achieved_bytes_per_second": read * decode["median"] / batch,
    }
    if rates is not None:
        operations = run.facts["prefill_operations"] * prefill["median"] / protocol.prompt
        content["share_of_copy"] = content["achieved_bytes_per_second"] / rates[0]
        content["share_of_matrix"] = operations / rates[1]
    if full is not None:
        content["baseline"] = figures(protocol, batch, full, rates=rates)
        for name, phase in (("speedup", "decode"), ("prefill_speedup", "prefill")):
            pairs = zip(getattr(full, phase), getattr(run, phase), strict=True)
            content[name] = summary([theirs / own for theirs, own in pairs])
    return content


def share_of_predicted(content: Mapping[str, Any], speedup: str) -> float | None:
    """Share of a predicted speedup (one of `PREDICTIONS`) that a recorded measurement reached; None
    where it is not over the full model, or was recorded without what predicts it."""
    figure, full = PREDICTIONS[speedup], content.get("baseline", {})
    if speedup not in content or figure not in content or figure not in full:
        return None
    return float(content[speedup]["median"] * content[figure] / full[figure])
