"""Figure 2: accuracy against memory and against latency, with the Pareto frontier of all points.

TrimLLM gives a checkpoint for every number of dropped units, the other methods one point each.
Upper row: bytes of the weights, one panel a domain. Lower row: milliseconds a generated token, one
panel a machine, on the domain whose checkpoints were timed. The last panel of each row is the
paper's own (Tables 2 and 7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import published
from trimllm_paper.chains import Run, checkpoints
from trimllm_paper.figures.panels import (
    compressed,
    errors,
    not_run,
    paper_column,
    paper_model,
    seed_note,
    title,
)
from trimllm_paper.figures.style import (
    BASELINES,
    COMPRESSORS,
    CRITERIA,
    NAMES,
    figure,
    save,
    say_in_place,
    underneath,
)
from trimllm_paper.measured import Accuracy, Results
from trimllm_paper.published import bound_percent
from trimllm_paper.tier import tier_note
from trimllm_paper.timings import Timing, Timings

SHOWN = ("sparsegpt_2_4", "llm_int8", "awq_int4")
PAPER_DOMAIN = "sciq"


@dataclass(frozen=True)
class Point:
    """One checkpoint: what it costs, how accurate it is, and to which line it belongs."""

    cost: float
    percent: float
    group: str
    """`full_ft`, a criterion, a compressor, or `CRITERION+COMPRESSOR`."""
    accuracy: Accuracy | None = None
    spread: tuple[float, float] | None = None
    """Quartiles of the cost."""


def pareto(points: Iterable[Point]) -> list[Point]:
    """Points that no other one beats: nothing is cheaper and at least as accurate. By cost."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost, -one.percent)):
        if not front or point.percent > front[-1].percent:
            front.append(point)
    return front


Cost = Callable[[str, Accuracy], tuple[float, tuple[float, float] | None] | None]
"""Recipe and accuracy of a checkpoint -> its cost and the cost's quartiles, or None: not known."""


def points_of(
    results: Results,
    model: str,
    domain: Mapping[str, Any],
    criteria: Sequence[str],
    run: Run,
    cost: Cost,
) -> list[Point]:
    """Everything that was evaluated in a domain and whose cost is known."""
    name, tasks = domain["name"], domain.get("tasks")
    found: list[tuple[str, Accuracy]] = []
    full = results.accuracy(model, name, "full_ft", tasks)
    found += [("full_ft", full)] if full else []
    found += compressed(results, model, name, tasks).items()
    for criterion in criteria:
        for compressor in (None, *COMPRESSORS):
            group = f"{criterion}+{compressor}" if compressor else criterion
            chain = checkpoints(results, model, name, tasks, criterion, run, compressor)
            found += [(group, accuracy) for _, accuracy in chain]
    points = []
    for group, accuracy in found:
        known = cost(accuracy.tasks[0].recipe, accuracy)
        if known:
            points.append(Point(known[0], accuracy.percent, group, accuracy, known[1]))
    return points


def by_memory(recipe: str, accuracy: Accuracy) -> tuple[float, None] | None:
    """Weights of a checkpoint in MB."""
    return (accuracy.megabytes, None) if accuracy.megabytes else None


def by_latency(timings: Sequence[Timing]) -> Cost:
    """Milliseconds a generated token on one machine, with its quartiles."""
    known = {
        f"{one.recipe}+{one.compressor}" if one.compressor else one.recipe: one for one in timings
    }

    def cost(recipe: str, accuracy: Accuracy) -> tuple[float, tuple[float, float]] | None:
        timing = known.get(recipe)
        if timing is None:
            return None
        low, high = timing.range("decode_tokens_per_second")
        return 1000 / timing.median("decode_tokens_per_second"), (1000 / high, 1000 / low)

    return cost


def draw(
    evals: Iterable[str | Path],
    benchmarks: Iterable[str | Path],
    model: Mapping[str, Any],
    domains: Sequence[Mapping[str, Any]],
    stem: str | Path,
    *,
    criteria: Sequence[str],
    run: Run,
) -> None:
    """Draw accuracy (%) against MB of weights and ms a token; STEM.pdf and STEM.png.

    Args:
        evals, benchmarks: evaluation files and measurements of throughput; what is not there is
            left out and named below the figure.
        model, domains, criteria, run: as for Figure 1.
    """
    results, timings = Results(evals), Timings(benchmarks)
    name = model["name"]
    machines = sorted({one.hardware for one in timings.timings if one.model == name})
    columns = max(len(domains), len(machines), 1) + 1
    with figure(2.1 * columns, 5.0, columns, 2, sharey=True) as (drawn, axes):
        seen: set[str] = set()
        for ax, domain in zip(axes[0], domains, strict=False):
            points = points_of(results, name, domain, criteria, run, by_memory)
            seen |= _panel(ax, points, title(domain, points[0].accuracy.n if points else None))
        for ax, hardware in zip(axes[1], machines, strict=False):
            timed = timings.of(hardware, name)
            timed_in = timed[0].content.get("domain")
            domain = next((d for d in domains if d["name"] == timed_in), domains[0])
            points = points_of(results, name, domain, criteria, run, by_latency(timed))
            _panel(ax, points, f"{title(domain)} on {hardware}")
        lower = max(1, len(machines))
        for ax in (*axes[0][len(domains) : -1], *axes[1][lower + 1 :]):
            ax.set_axis_off()
        axes[1][lower].tick_params(labelleft=not machines)
        if not machines:
            say_in_place(axes[1][0], "latency: not run\n(snakemake benchmarks)")
        beside = paper_model(model)
        _panel(axes[0][-1], paper_memory(beside), f"paper: {published.LABELS[beside]}, SciQ")
        _panel(axes[1][lower], paper_latency(), "paper: LLaMA-7B, SciQ, A100")
        for row, label in enumerate(("weights (MB)", "latency (ms a token, batch 1)")):
            for ax in axes[row]:
                ax.set_xlabel(label)
        axes[0][-1].set_xlabel("weights (% of full, as printed)")
        for ax in (axes[0][0], axes[1][0]):
            ax.set_ylabel("accuracy (%)")
        axes[0][0].set_ylim(0, 100)
        label = model.get("label") or name
        drawn.suptitle(f"{label}: accuracy against memory and latency", fontsize=9)
        sources = [one.source for one in (*results.measurements, *timings.timings)]
        notes = (
            f"{tier_note(sources)}.{seed_note(one.seed for one in results.measurements)} "
            "Grey staircase: Pareto frontier of all points of a panel. "
            "Vertical bars: Wilson intervals of 95%; horizontal bars: quartiles of the rounds. "
            f"{'' if model.get('published') else 'A stand-in for the paper’s model. '}"
            f"† stand-in data. {not_run(SHOWN, dict.fromkeys(seen))}"
        )
        underneath(drawn, axes.flat, 5, [notes])
        save(drawn, stem)


def _panel(ax: Any, points: Sequence[Point], heading: str) -> set[str]:
    """Draw the points of one panel with their frontier; returns the groups that were drawn."""
    ax.set_title(heading)
    front = pareto(points)
    ax.step(
        [one.cost for one in front],
        [one.percent for one in front],
        where="post",
        color="#999999",
        linewidth=3,
        alpha=0.45,
        label="Pareto frontier",
    )
    groups = list(dict.fromkeys(one.group for one in points))
    for group in groups:
        mine = sorted((one for one in points if one.group == group), key=lambda one: one.cost)
        known = [one.accuracy for one in mine]
        spreads = [one.spread for one in mine]
        ax.errorbar(
            [one.cost for one in mine],
            [one.percent for one in mine],
            errors(known) if all(known) else None,
            [
                [one.cost - one.spread[0] for one in mine],
                [one.spread[1] - one.cost for one in mine],
            ]
            if all(spreads)
            else None,
            **_look(group),
        )
    ax.set_xlim(left=0)
    return set(groups)


def _look(group: str) -> dict[str, Any]:
    """Style and name of a group; compressed TrimLLM has the compressor's marker, hollow."""
    criterion, _, compressor = group.partition("+")
    if compressor:
        style = {"color": CRITERIA[criterion]["color"], "markerfacecolor": "white"}
        marker = {"marker": COMPRESSORS[compressor]["marker"], "linestyle": ""}
        return style | marker | {"label": f"{NAMES[criterion]} + {NAMES[compressor]}"}
    if group in CRITERIA:
        return CRITERIA[group] | {"label": NAMES[group]}
    return (BASELINES | COMPRESSORS)[group] | {"label": NAMES[group], "linestyle": ""}


def paper_memory(block: str) -> list[Point]:
    """The paper's accuracies on SciQ against its printed sizes, in % of the full model."""
    name = next(n for n in ("table2", "table8") if block in published.table(n).blocks)
    table = published.table(name)
    points = []
    for row, percent in paper_column(block, PAPER_DOMAIN).items():
        group = PAPER_CRITERION if row.startswith("trimllm") else row
        size = bound_percent(table.value(row, "final_mem", block))
        if group in CRITERIA | COMPRESSORS or group == "full_ft":
            points += [Point(size, percent, group)] if size else []
    return points


def paper_latency() -> list[Point]:
    """The paper's accuracies on SciQ against 1000 / its tokens/s, LLaMA-7B on an A100."""
    table = published.table("table7")
    points = []
    for row in table.rows():
        group = row.replace("trimllm_", f"{PAPER_CRITERION}+").replace("trimllm", PAPER_CRITERION)
        if group in ("pretrained", "sparse_ft"):
            continue
        rate = float(table.value(row, "throughput"))
        points.append(Point(1000 / rate, float(table.value(row, PAPER_DOMAIN)), group))
    return points
