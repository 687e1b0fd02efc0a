"""What several figures draw alike: accuracies with intervals, and the paper's own numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trimllm_paper import published
from trimllm_paper.chains import Chain
from trimllm_paper.figures.style import NAMES
from trimllm_paper.measured import Accuracy, Results

STAND_IN_FOR = "llama-7b"
"""The paper's model that a stand-in is shown beside."""
PAPER_UNITS = {"llama-7b": 64, "llama-13b": 80, "opt-1.3b": 48, "opt-6.7b": 64}
"""Units of the paper's models: two in each decoder block."""
DAGGER = "†"


def paper_model(model: Mapping[str, Any]) -> str:
    """Key of the paper's model that a model is, or is shown beside."""
    return model.get("published") or STAND_IN_FOR


def paper_column(block: str, domain: str) -> dict[str, float]:
    """Row key -> accuracy (%) that the paper prints for a model in a domain, if it does."""
    name = next((n for n in ("table2", "table8") if block in published.table(n).blocks), None)
    table = published.table(name) if name else None
    if table is None or domain not in table.columns:
        return {}
    values = {row: table.value(row, domain, block) for row in table.rows(block)}
    return {row: float(value) for row, value in values.items() if value is not None}


def errors(points: Sequence[Accuracy]) -> list[list[float]]:
    """Distances to the 95% intervals' ends, as `errorbar` takes them."""
    return [
        [point.percent - point.ci95[0] for point in points],
        [point.ci95[1] - point.percent for point in points],
    ]


def compressed(
    results: Results, model: str, domain: str, tasks: Sequence[str] | None
) -> dict[str, Accuracy]:
    """Compressor -> accuracy of the fully fine-tuned model compressed by it."""
    found = {}
    for recipe in results.recipes(model, domain):
        base, _, compressor = recipe.partition("+")
        accuracy = results.accuracy(model, domain, recipe, tasks)
        if base == "full_ft" and compressor in NAMES and accuracy:
            found[compressor] = accuracy
    return found


def not_run(compressors: Sequence[str], found: Mapping[str, Any]) -> str:
    """A sentence on the compressors that nobody evaluated, or nothing."""
    missing = [NAMES[name] for name in compressors if name not in found]
    return f"Not run: {', '.join(missing)}." if missing else ""


def seed_of(chain: Chain) -> int | None:
    """Seed of a trim run, if its records say it."""
    return chain.epochs[0].get("settings", {}).get("seed")


def seed_note(seeds: Iterable[int | None]) -> str:
    """A sentence on the seed of what is drawn, or nothing where no file says it."""
    found = sorted({seed for seed in seeds if seed is not None})
    return f" Seed {' and '.join(map(str, found))}." if found else ""


def title(domain: Mapping[str, Any], n: int | None = None) -> str:
    """Heading of a domain's panel: its label, the mark of stand-in data, documents."""
    mark = DAGGER if domain.get("stand_in") else ""
    documents = f" (n = {n})" if n else ""
    return f"{domain.get('label') or domain['name']}{mark}{documents}"
