"""Evaluation files as the pipeline writes them, made up by the tests."""

from __future__ import annotations

import json
import random
from pathlib import Path

from trimllm.base.intervals import wilson

TOTAL_UNITS = 60
FULL_BYTES = 269_000_000


class Evaluations:
    """Writes evaluation files under a folder and remembers their paths."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths: list[Path] = []

    def add(
        self,
        recipe: str,
        acc: float,
        *,
        model: str = "tiny",
        domain: str = "sciq",
        task: str | None = None,
        n: int = 200,
        kept: int = TOTAL_UNITS,
        weight_bytes: int | None = None,
        stand_in: str | None = None,
        documents: str = "same",
        seed: int = 0,
        **changes: object,
    ) -> Path:
        task = task or domain
        right = round(acc * n / 100)
        correct = [1] * right + [0] * (n - right)
        random.Random(f"{domain}{task}{recipe}").shuffle(correct)
        content = {
            "task": task,
            "domain": domain,
            "recipe": recipe,
            "n": n,
            "acc": 100 * right / n,
            "stderr": 0.0,
            "ci95": list(wilson(right, n)),
            "chance": 25.0,
            "correct": correct,
            "document_hashes_sha256": f"{documents}-{task}",
            "bytes": weight_bytes or int(FULL_BYTES * (0.2 + 0.8 * kept / TOTAL_UNITS)),
            "bytes_full": FULL_BYTES,
            "units_kept": kept,
            "units_total": TOTAL_UNITS,
            "stand_in": stand_in,
            "model": {"name": model},
            "provenance": {
                "config_hash": "c0ffee" * 8,
                "git_commit": "0123456789abcdef" * 2,
                "seed": seed,
                "hardware": {"cpu": "A & B_Processor 100%", "cores": 2, "threads": 1},
                "versions": {"torch": "2.13.0", "lm_eval": "0.4.13"},
            },
            **changes,
        }
        path = self.root / "eval" / model / domain / recipe / f"{task}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        if path not in self.paths:
            self.paths.append(path)
        return path

    def add_domain(
        self, domain: str, stand_in: str | None = None, model: str = "tiny", **sizes: int
    ) -> None:
        """All measured rows of one domain: 50% before, 75% after fine-tuning, then trimmed."""
        rows = {
            "pretrained": (50, 60),
            "full_ft": (75, 60),
            "sparse_ft": (74, 60),
            "trim_both_r0.25_d6/drop_30": (70, 30),
            "trim_both_r0.25_d6/drop_36": (60, 24),
            "trim_both_r0.25_d6/drop_42": (52, 18),
            "trim_likelihood_r0.25_d6/drop_30": (73, 30),
            "trim_likelihood_r0.25_d6/drop_36": (71, 24),
            "trim_likelihood_r0.25_d6/drop_42": (69, 18),
        }
        for recipe, (acc, kept) in rows.items():
            self.add(recipe, acc, domain=domain, stand_in=stand_in, model=model, kept=kept, **sizes)
