"""Measurements in engines as the pipeline writes them, made up by the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trimllm.exporting.formats import FORMATS
from trimllm.throughput.result import Protocol, Run, figures
from trimllm_paper.recipe import FULL_FT, Paths, Recipe
from trimllm_paper.records import Engines

UNITS = 60
ROUNDS = (0.98, 1.0, 1.02)


def run(format: str, recipe: str, batch: int, seconds: float, kept: int) -> Run:
    """Rounds of a model whose units take 40 kB each, beside 0.6 MB of embeddings."""
    facts = {
        **{"recipe": recipe, "format": format, "batch": batch, "version": f"{format} 1.0"},
        **{"versions": {"torch": "2.0"}, "kernel": "fast", "precision": "16 bits"},
        "proof": {"mean_difference": 0.004} if format.startswith("gguf") else None,
        **{"units_kept": kept, "units_total": UNITS},
        "bytes": {"units": 40_000 * kept, "embeddings": 600_000, "head": 0},
        **{"kv_bytes_per_token": 0, "prefill_operations": 10**6 * kept},
    }
    times = [seconds * (1.0 if kept == UNITS else factor) for factor in ROUNDS]
    return Run(facts, decode=times, prefill=times)


def write_engine(
    root: Path,
    rates: dict[str, dict[int, float]],
    *,
    model: str = "tiny",
    hardware: str = "cpu-mine",
    batches: tuple[int, ...] = (1,),
    chain: str = "paper",
    **changes: Any,
) -> Path:
    """What was measured in one engine.

    Args:
        rates: format -> percent of the units kept -> speedup over the full model.
    """
    measured = []
    for format, gains in rates.items():
        names = {
            kept: str(Recipe.trimmed(chain, UNITS - UNITS * kept // 100, UNITS)) for kept in gains
        }
        for batch in batches:
            protocol = Protocol(24, 8, 3)
            full = run(format, FULL_FT, batch, 1.0, UNITS)
            measured.append(figures(protocol, batch, full))
            for kept, gain in gains.items():
                one = run(format, names[kept], batch, 1.0 / gain, UNITS * kept // 100)
                measured.append(figures(protocol, batch, one, full))
    engine = FORMATS[next(iter(rates))]
    content = {
        **{"hardware": hardware, "model": model, "engine": engine},
        **{"domain": "sciq", "seed": 0, "threads": 2, "device": "cpu", "interleaved": True},
        "protocol": {"prompt": 24, "generate": 8, "repeats": 3, "batches": list(batches)},
        "machine": {"before": {"load_average": [0.5, 0, 0]}},
        **{"measured": measured, "provenance": {"git_commit": "01" * 16}},
    }
    path = Path(Paths(str(root)).engines(hardware, model, engine))
    Engines(**content | changes).write(path)
    return path
