"""What several figures draw alike: accuracies with intervals, and the paper's own numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from trimllm_paper import derive, published
from trimllm_paper.context import BY_LORA, Context, Domain
from trimllm_paper.derive import Accuracy
from trimllm_paper.figures.style import COMPRESSORS
from trimllm_paper.frames import Frame
from trimllm_paper.recipe import FULL_FT, Recipe
from trimllm_paper.tier import tier_note


def paper_column(block: str, domain: str, column: str = "") -> dict[str, float]:
    """Row -> accuracy (%) that the paper prints for a model in a domain, if it does.

    With `column` what it prints there in the same rows, sizes in percent.
    """
    tables = (published.table(name) for name in ("table2", "table8"))
    table = next((one for one in tables if block in one.blocks), None)
    if table is None or domain not in table.columns:
        return {}
    values = {row: table.value(row, column or domain, block) for row in table.rows(block)}
    return {row: published.bound_percent(one) for row, one in values.items() if one is not None}


def errors(points: Sequence[Accuracy]) -> list[list[float]]:
    """Distances to the 95% intervals' ends, as `errorbar` takes them."""
    low = [point.percent - point.ci95[0] for point in points]
    return [low, [point.ci95[1] - point.percent for point in points]]


def compressed(frame: Frame, context: Context, domain: Domain) -> dict[str, Accuracy]:
    """Compressor -> accuracy of the fully fine-tuned model compressed by it."""
    place = frame, context.model.name, domain.name
    found = {
        name: derive.accuracy(*place, str(Recipe(FULL_FT, compressor=name)), domain.tasks)
        for name in sorted(COMPRESSORS)
    }
    return {name: accuracy for name, accuracy in found.items() if accuracy}


def by_lora(context: Context) -> list[str]:
    """What stands in for full fine-tuning, if anything does, in words."""
    told = f"{BY_LORA}, merged adapters, in place of full fine-tuning and beneath compressors"
    return [told] if context.lora else []


def not_run(compressors: Sequence[str], found: Collection[str]) -> str:
    """A sentence on the compressors that nobody evaluated, or nothing."""
    missing = [COMPRESSORS[name]["label"] for name in compressors if name not in found]
    return f"Not run: {', '.join(missing)}." if missing else ""


def origin(sources: Iterable[str], seeds: Iterable[int | None]) -> str:
    """Where numbers come from and, if files say it, under which seed, in sentences."""
    known = sorted({int(seed) for seed in seeds if seed is not None and seed == seed})
    told = f" Seed {' and '.join(map(str, known))}." if known else ""
    return f"{tier_note(sources)}.{told}"


def title(domain: Domain, n: int | None = None) -> str:
    """Heading of a domain's panel: its label, the mark of stand-in data, documents."""
    documents = f" (n = {n})" if n else ""
    return f"{domain.label}{'†' if domain.stand_in else ''}{documents}"
