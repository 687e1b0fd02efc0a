"""What a measurement in an engine holds (`trimllm.throughput`); else as `records`."""

from __future__ import annotations

from typing import Any, Self

from pydantic import ConfigDict, model_validator

from trimllm_paper.records import ABSENT, Baseline, Part, Quartiles, Record, Sizes


class InEngine(Part):
    """A model in a format and a batch size; further figures are kept.

    Without a baseline and a speedup over it, it is the full model itself.
    """

    model_config = ConfigDict(extra="allow")
    recipe: str
    format: str
    batch: int
    version: str  # of the engine, in words
    versions: dict[str, str | None]
    kernel: str
    precision: str
    proof: dict[str, Any] | None  # of an export: against transformers
    decode_tokens_per_second: Quartiles
    prefill_tokens_per_second: Quartiles
    baseline: Baseline | None = ABSENT
    speedup: Quartiles | None = ABSENT
    prefill_speedup: Quartiles | None = ABSENT
    bytes: Sizes
    units_kept: int
    units_total: int

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len({one is None for one in (self.baseline, self.speedup, self.prefill_speedup)}) > 1:
            raise ValueError("lacks some of `baseline`, `speedup` and `prefill_speedup`")
        return self


class Engines(Record):
    """Full and trimmed models in one engine, timed in turn."""

    PLACED = ("hardware", "model", "engine")
    hardware: str
    engine: str
    label: str | None = ABSENT  # in kept records
    domain: str
    seed: int
    threads: int
    device: str
    protocol: dict[str, Any]
    interleaved: bool
    machine: dict[str, Any]
    measured: list[InEngine]
