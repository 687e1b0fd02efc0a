"""The compressors: engines, settings, margins, packages. Imports no torch: planning reads this."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from trimllm.base.errors import UserError
from trimllm.base.workers import python_of


@dataclass(frozen=True)
class CompressSettings:
    """How to compress."""

    group_size: int = 64  # weights that share a scale in the four-bit formats
    max_tokens: int = 512  # of a row of calibration texts
    kept: float = 0.5  # share of the sublayers' parameters that structured pruning keeps
    seed: int = 0
    threads: int = 1  # of an external engine, and of the process that checks the result
    device: str = "cpu"  # or "cuda"


@dataclass(frozen=True)
class Method:
    """What is known of a compressor without running it."""

    engines: dict[str, tuple[str, ...]]  # with the packages that each needs; the first is default
    settings: tuple[str, ...]  # keys of `CompressSettings` that the result depends on
    yardstick: str  # the plainest way to the same size, which the result is compared with
    # Nats a token by which held-back answers may be worse than the yardstick's; a corrupt
    # checkpoint is worse by nats.
    margin: float


INT4 = (("group_size", "max_tokens"), "round to nearest, int4", 0.25)
METHODS = {
    # AWQ and GPTQ can lose a little on texts that they have not seen; and weights that had four
    # bits before, as the embedded default's, lie on a grid that plain rounding mostly keeps.
    "awq_int4": Method(
        {"llmcompressor": ("llmcompressor", "gptqmodel"), "autoawq": ("gptqmodel",)}, *INT4
    ),
    "gptq_int4": Method(
        {"gptqmodel": ("gptqmodel", "optimum"), "auto-gptq": ("gptqmodel", "optimum")}, *INT4
    ),
    "sparsegpt_2_4": Method(
        {"llmcompressor": ("llmcompressor",)}, ("max_tokens",), "magnitude, 2:4", 0.0
    ),
    # It rounds inputs too, its yardstick weights alone: 0.05 nats after FinanceQA's Full-FT.
    "llm_int8": Method(
        {"bitsandbytes": ("bitsandbytes",)}, ("max_tokens",), "round to nearest, int8", 0.25
    ),
    "llm_pruner": Method({"torch": ("torch",)}, ("max_tokens", "kept"), "random structures", 0.0),
}
EXTERNAL = {"autoawq": "autoawq", "auto-gptq": "auto_gptq"}
"""Engines that need an older transformers -> their environment under `.envs` (`make envs`)."""


def default_engine(method: str) -> str:
    """The engine of a method when none is named."""
    return next(iter(METHODS[method].engines))


def require(method: str, engine: str | None = None) -> str:
    """The engine of a method (None: the default); `UserError` where it is not installed."""
    if method not in METHODS:
        raise UserError(f"no compressor {method!r} (there are: {', '.join(METHODS)})")
    engine, known = engine or default_engine(method), METHODS[method].engines
    if engine not in known:
        raise UserError(f"{method} has no engine {engine!r} (there are: {', '.join(known)})")
    for name in known[engine]:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"{method} needs the package {name}: pip install 'trimllm[compress]'")
    if engine in EXTERNAL:
        python_of(EXTERNAL[engine], "envs")
    return engine
