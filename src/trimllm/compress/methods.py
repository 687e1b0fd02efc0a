"""The compressors: settings, margins, packages. Imports no torch: planning reads this."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from trimllm.base.errors import UserError


@dataclass(frozen=True)
class CompressSettings:
    """How to compress."""

    group_size: int = 64  # weights that share a scale in the four-bit formats
    max_tokens: int = 512  # of a row of calibration texts
    kept: float = 0.5  # share of the sublayers' parameters that structured pruning keeps
    seed: int = 0
    threads: int = 1  # of the process that checks the result
    device: str = "cpu"  # or "cuda"


@dataclass(frozen=True)
class Method:
    """What is known of a compressor without running it."""

    packages: tuple[str, ...]  # that it needs; the first is its engine
    settings: tuple[str, ...]  # keys of `CompressSettings` that the result depends on
    yardstick: str  # the plainest way to the same size, which the result is compared with
    # Nats a token by which held-back answers may be worse than the yardstick's; a corrupt
    # checkpoint is worse by nats.
    margin: float

    @property
    def engine(self) -> str:
        """The package that implements it."""
        return self.packages[0]


INT4 = (("group_size", "max_tokens"), "round to nearest, int4", 0.25)
METHODS = {
    # AWQ and GPTQ can lose a little on texts that they have not seen; and weights that had four
    # bits before, as the embedded default's, lie on a grid that plain rounding mostly keeps.
    "awq_int4": Method(("llmcompressor", "gptqmodel"), *INT4),
    "gptq_int4": Method(("gptqmodel", "optimum"), *INT4),
    "sparsegpt_2_4": Method(("llmcompressor",), ("max_tokens",), "magnitude, 2:4", 0.0),
    # It rounds inputs too, its yardstick weights alone: 0.05 nats after FinanceQA's Full-FT.
    "llm_int8": Method(("bitsandbytes",), ("max_tokens",), "round to nearest, int8", 0.25),
    "llm_pruner": Method(("torch",), ("max_tokens", "kept"), "random structures", 0.0),
}


def require(method: str) -> None:
    """Raise `UserError` where a package that a method needs is not installed."""
    for name in METHODS[method].packages:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"{method} needs the package {name}: pip install 'trimllm[compress]'")
