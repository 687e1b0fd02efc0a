"""The compressors: engines, settings, margins, packages. Imports no torch: planning reads this."""

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

    engines: tuple[str, ...]  # the first is default
    packages: tuple[str, ...]  # that every engine needs, beside itself
    settings: tuple[str, ...]  # keys of `CompressSettings` that the result depends on
    yardstick: str  # the plainest way to the same size, which the result is compared with
    margin: float  # nats a token that answers may be worse than it; corrupt ones are by nats


INT4 = (("group_size", "max_tokens"), "round to nearest, int4", 0.5)
METHODS = {
    # AWQ and GPTQ can lose a little on texts that they have not seen, 0.27 nats with half of the
    # sublayers; weights that had four bits before lie on a grid that plain rounding mostly keeps.
    "awq_int4": Method(("llmcompressor", "autoawq"), ("gptqmodel",), *INT4),
    "gptq_int4": Method(("gptqmodel", "auto-gptq"), ("gptqmodel", "optimum"), *INT4),
    "sparsegpt_2_4": Method(("llmcompressor",), (), ("max_tokens",), "magnitude, 2:4", 0.0),
    # It rounds inputs too, its yardstick weights alone: 0.05 nats after FinanceQA's Full-FT.
    "llm_int8": Method(("bitsandbytes",), (), ("max_tokens",), "round to nearest, int8", 0.25),
    "llm_pruner": Method(("torch",), (), ("max_tokens", "kept"), "random structures", 0.0),
}
# Engines that need an older transformers -> their environment under `.envs` (`make envs`).
EXTERNAL = {"autoawq": "autoawq", "auto-gptq": "auto_gptq"}


def default_engine(method: str) -> str:
    """The engine of a method when none is named."""
    return METHODS[method].engines[0]


def require(method: str, engine: str | None = None) -> str:
    """The engine of a method (None: the default); `UserError` where it is not installed."""
    if method not in METHODS:
        raise UserError(f"no compressor {method!r} (there are: {', '.join(METHODS)})")
    engine, known = engine or default_engine(method), METHODS[method].engines
    if engine not in known:
        raise UserError(f"{method} has no engine {engine!r} (there are: {', '.join(known)})")
    own = () if engine in EXTERNAL else (engine,)
    for name in (*own, *METHODS[method].packages):
        if importlib.util.find_spec(name) is None:
            raise UserError(f"{method} needs the package {name}: pip install 'trimllm[compress]'")
    if engine in EXTERNAL:
        python_of(EXTERNAL[engine], "envs")
    return engine
