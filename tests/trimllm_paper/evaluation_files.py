"""Evaluation files as the pipeline writes them, made up by the tests."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm_paper.intervals import wilson
from trimllm_paper.recipe import Paths, Recipe
from trimllm_paper.records import Evaluation, sealed

TOTAL_UNITS = 60
FULL_BYTES = 269_000_000
CHAINS = {
    "paper": {"criterion": "both", "ratio": 0.25, "step": 6},
    "ours": {"criterion": "likelihood", "ratio": 0.25, "step": 6},
}
"""The chains of the tests' configuration."""


def chain_keys(recipe: str) -> dict[str, Any]:
    """Criterion, ratio and step of a recipe: of an entry, of a derived name, or of a rule."""
    parsed = Recipe.parse(recipe)
    if parsed.drop is None:
        return {}
    name = parsed.name or ""
    criterion, _, ratio = name.partition("_r")
    if name in ("random", "top", "bottom"):
        return {"criterion": name, "ratio": 0.25, "step": parsed.dropped}
    derived = {"criterion": criterion, "ratio": float(ratio or 0.25), "step": 6}
    return CHAINS.get(name, derived)


def rewrite(path: Path, **changes: Any) -> None:
    """Change a result file and seal it again, as no writer of the pipeline would."""
    content = {key: value for key, value in files.read_json(path).items() if key not in changes}
    content |= {key: value for key, value in changes.items() if value is not None}
    files.write_json(path, sealed(content))


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
        **changes: Any,
    ) -> Path:
        task = task or domain
        right = round(acc * n / 100)
        correct = [1] * right + [0] * (n - right)
        random.Random(f"{domain}{task}{recipe}").shuffle(correct)
        paths = Paths(str(self.root))
        content = {
            "model": model,
            "domain": domain,
            "recipe": recipe,
            **chain_keys(recipe),
            "task": task,
            "tested": domain,
            "checkpoint": paths.model(model, domain, recipe),
            "seed": seed,
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
            "lm_eval_version": "0.4.13",
            "provenance": {
                "config_hash": "c0ffee" * 8,
                "git_commit": "0123456789abcdef" * 2,
                "seed": seed,
                "hardware": {"cpu": "A & B_Processor 100%", "cores": 2, "threads": 1},
                "versions": {"torch": "2.13.0", "lm_eval": "0.4.13"},
            },
            **changes,
        }
        path = Path(paths.evaluation(model, domain, recipe, task))
        Evaluation(**content).write(path)
        if path not in self.paths:
            self.paths.append(path)
        return path

    def add_free(self, recipe: str, acc: float, f1: float, loss: float, **more: Any) -> Path:
        """An evaluation of four free answers, of which `acc` percent match exactly."""
        each = {"token_f1": [f1 / 100] * 4, "rouge_l": [f1 / 200] * 4}
        answers = {"exact_match": acc, "token_f1": f1, "rouge_l": f1 / 2, "by_document": each}
        answers["perplexity"] = math.exp(loss)
        told = {"n": 4, "chance": None, "answer_loss": loss, "answers": answers}
        return self.add(recipe, acc, **told | more)

    def add_domain(
        self, domain: str, stand_in: str | None = None, model: str = "tiny", **sizes: int
    ) -> None:
        """All measured rows of one domain: 50% before, 75% after fine-tuning, then trimmed."""
        rows = {
            "pretrained": (50, 60),
            "full_ft": (75, 60),
            "sparse_ft": (74, 60),
            "trim_paper/drop_30": (70, 30),
            "trim_paper/drop_36": (60, 24),
            "trim_paper/drop_42": (52, 18),
            "trim_ours/drop_30": (73, 30),
            "trim_ours/drop_36": (71, 24),
            "trim_ours/drop_42": (69, 18),
        }
        for recipe, (acc, kept) in rows.items():
            self.add(recipe, acc, domain=domain, stand_in=stand_in, model=model, kept=kept, **sizes)
