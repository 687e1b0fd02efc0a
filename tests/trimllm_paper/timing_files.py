"""Measurements of throughput as the pipeline writes them, made up by the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evaluation_files import chain_keys

from trimllm.throughput.result import summary
from trimllm_paper.recipe import Paths, Recipe
from trimllm_paper.records import Throughput

UNITS, EMBEDDINGS, HEAD = 2_000_000, 300_000, 300_000


class TimingFiles:
    """Writes files of results/throughput under a folder and remembers their paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: list[Path] = []

    def add(
        self,
        recipe: str,
        rate: float,
        *,
        full: float | None = 10.0,
        hardware: str = "cpu-mine",
        model: str = "random-llama-1b",
        kept: int = 44,
        total: int = 44,
        share: float = 1.0,
        spread: float = 0.02,
        **changes: Any,
    ) -> Path:
        """A model at `rate` tokens/s beside a full one at `full` (None: it is the full one)."""
        factors = (1 - spread, 1 - spread / 2, 1.0, 1 + spread / 2, 1 + spread)

        def figures(tokens: float, units: float, operations: int) -> dict[str, Any]:
            sizes = {"units": round(units * UNITS), "embeddings": EMBEDDINGS, "head": HEAD}
            return {
                "decode_tokens_per_second": summary([tokens * f for f in factors]),
                "prefill_tokens_per_second": summary([100 * tokens]),
                "bytes": sizes | {"total": sum(sizes.values())},
                "read_bytes_per_token": sizes["units"] + HEAD,
                "prefill_operations": operations,
                "share_of_copy": 0.5,
                "achieved_bytes_per_second": 1e9,
                "peak_memory_bytes": 10**9,
                "dtype": "bfloat16",
            }

        content = figures(rate, share, kept) | {
            "hardware": hardware,
            "model": model,
            "recipe": recipe,
            **chain_keys(recipe),
            "compressor": Recipe.parse(recipe).compressor,
            "seed": 0,
            "units_kept": kept,
            "units_total": total,
            "layers": ["Linear"],
            "threads": 2,
            "protocol": {"prompt": 480, "generate": 32, "repeats": 3},
            "machine": {"before": {"load_average": [0.5, 0, 0]}},
            "timed_on": {"cpu": "A & B_Processor", "cores": 2, "threads": 2},
            "random_weights": model.startswith("random-"),
            "provenance": {"git_commit": "0123456789abcdef" * 2, "seed": 0},
        }
        if full is not None:
            content["baseline"] = figures(full, 1.0, total)
            content["speedup"] = summary([rate / full * f for f in factors])
            content["prefill_speedup"] = summary([rate / full])
        content |= changes
        path = Path(Paths(str(self.root)).throughput(hardware, model, recipe))
        Throughput(**content).write(path)
        if path not in self.paths:
            self.paths.append(path)
        return path

    def add_machine(self, hardware: str = "cpu-mine", model: str = "random-llama-1b") -> None:
        """What a machine with fast int4 and slow int8 and 2:4 kernels measures."""
        where = {"hardware": hardware, "model": model}
        self.add("full", 10, full=None, **where)
        self.add("full+sparsegpt_2_4", 9.5, **where)
        self.add("full+llm_int8", 5, share=0.5, **where)
        self.add("full+gptq_int4", 22, share=0.26, **where)
        self.add("full+awq_int4", 23, share=0.26, **where)
        self.add("trim_half/keep_50", 18.5, kept=22, share=0.5, **where)
        self.add("trim_half/keep_40", 22, kept=18, share=0.4, **where)
        self.add("trim_chain/keep_50", 19, kept=22, share=0.47, pattern="chain: of PIQA", **where)
        self.add("trim_half/keep_50+awq_int4", 35, kept=22, share=0.13, **where)


def timing(root: Path, recipe: str, rate: float) -> Path:
    """Write what figures and claims ask of a measurement: throughput/box/tiny/{recipe}.json."""
    where = {"hardware": "box", "model": "tiny", "kept": 60, "total": 60, "spread": 0.1}
    return TimingFiles(root).add(recipe, rate, full=None, **where)
