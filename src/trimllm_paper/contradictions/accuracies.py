"""Accuracies of the paper's tables against each other, and against its sentences on them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from trimllm_paper import published
from trimllm_paper.contradictions.finding import Contradiction, check, number, place, quoted
from trimllm_paper.published import NEAR, bound_percent
from trimllm_paper.verdict import PAPER_MARGIN

CHANCE = {
    **{"piqa": 50.0, "sciq": 25.0, "medmcqa": 25.0, "pubmedqa": 100 / 3},
    **{"lexglue": 25.0, "financeqa": 25.0},
}
"""Percent that guessing gets: by the choices of each column's tests, as lm-eval has them."""
DOCUMENTS = {
    **{"piqa": 1838, "sciq": 1000, "medmcqa": 4183, "pubmedqa": 500},
    **{"lexglue": 1763, "financeqa": 742},
}
"""Documents of these tests: of MMLU, three subjects of law and three of economics."""
FIVE = published.table("table5").columns
SAME = (
    ("table2/llama-7b/trimllm_50", "table3//both", "table6/r_1_4/both", "table7//trimllm"),
    ("table3//calibration", "table6/r_1_4/calibration"),
    ("table3//activation_norm", "table6/r_1_4/activation_norm"),
    *((f"table2/llama-7b/{x}", f"table3//{x}", f"table7//{x}") for x in ("full_ft", "sparse_ft")),
    *((f"table2/llama-7b/{row}", f"table7//{row}") for row in ("sparsegpt_2_4", "awq_int4")),
    *((f"table4//{one}_specialized", f"table5//{one}_specialized") for one in NEAR),
    *((f"table2/llama-7b/trimllm_40/{one}", f"table5//{one}_specialized/{one}") for one in FIVE),
    ("table2/llama-7b/pretrained", *(f"table{n}//pretrained" for n in (3, 4, 5, 7))),
    *(("table1/A100/" + row, "table7//" + other) for row, other in (
        *(("fp16", "full_ft"), ("sparsegpt", "sparsegpt_2_4")),
        *(("awq_int4", "awq_int4"), ("trimllm", "trimllm")),
    )),
)  # fmt: skip
"""Rows (TABLE/BLOCK/ROW), or their cells in one column (.../COLUMN), that are the same model, of
which the same is printed."""
COLUMNS = {"mem": "final_mem"}
"""Columns that mean the same under two names."""


@check
def same_cells() -> Iterator[Contradiction]:
    """Numbers of one model that are printed more than once."""
    for rows in SAME:
        cells: dict[str, dict[str, float | str]] = {}
        for row in rows:
            table, block, key, *only = row.split("/")
            paper = published.table(table)
            for column in only or paper.columns:
                value = paper.value(key, column, block)
                if value is not None:
                    where = place(table, block, key, column)
                    cells.setdefault(COLUMNS.get(column, column), {})[where] = value
        for column, printed in cells.items():
            numbers = {where: bound_percent(value) for where, value in printed.items()}
            if len(set(numbers.values())) > 1:
                told = ", ".join(f"{numbers[where]:g} in {where}" for where in numbers)
                yield Contradiction(f"One model, two numbers ({column}): {told}", numbers)


@check
def below_chance() -> Iterator[Contradiction]:
    """Accuracies so far below guessing that right answers would have to be the less likely ones."""
    for column, chance in CHANCE.items():
        error = math.sqrt(chance * (100 - chance) / DOCUMENTS[column])
        low = {
            place(name, block, row, column): bound_percent(value)
            for name in published.tables()
            for block, rows in published.table(name).blocks.items()
            for row in rows
            if column in published.table(name).columns
            and (value := published.table(name).value(row, column, block)) is not None
            and bound_percent(value) < chance - 3 * error
        }
        if low:
            where = min(low, key=low.__getitem__)
            many = "accuracies" if len(low) > 1 else "accuracy"
            yield Contradiction(
                f"{len(low)} printed {many} on {column}, more than three standard errors "
                f"below chance ({chance:.1f}%), the lowest {low[where]:g} in {where}: guessing "
                "does better, and so does the most likely choice, unless right answers are the "
                "longer ones",
                {f"chance on {column}": chance, **low},
            )


@check
def best_criterion() -> Iterator[Contradiction]:
    """'Both' is the best at every r, by accuracy."""
    table = published.table("table6")
    for block, rows in table.blocks.items():
        for column in table.columns[:-1]:
            both = number("table6", "both", column, block)
            better = {
                place("table6", block, row, column): value
                for row in rows
                if (value := number("table6", row, column, block)) > both
            }
            if better:
                where = place("table6", block, "both", column)
                told = ", ".join(f"{value:g} in {there}" for there, value in better.items())
                sizes = {row: number("table6", row, "final_mem", block) for row in rows}
                each = ", ".join(f"{row} ≥{size:g}%" for row, size in sizes.items())
                yield Contradiction(
                    f"“both” is best at every r (section 4.1), but {told} is above {both:g} of "
                    f"both (units left: {each})",
                    {where: both, **better},
                    ("both_best",),
                )


@check
def best_ratio() -> Iterator[Contradiction]:
    """For each of the three methods r = 1/4 performs best and r = 1 worst, by accuracy."""
    table = published.table("table6")
    for criterion in table.rows("r_1"):

        def at(ratio: str, criterion: str = criterion) -> dict[str, float]:
            columns = table.columns[:-1]
            return {column: number("table6", criterion, column, ratio) for column in columns}

        for ratio in table.blocks:
            yield from _beside(criterion, "r_1_4", at("r_1_4"), ratio, at(ratio), best=True)
            yield from _beside(criterion, "r_1", at("r_1"), ratio, at(ratio), best=False)


def _beside(
    criterion: str,
    named: str,
    own: dict[str, float],
    other: str,
    theirs: dict[str, float],
    *,
    best: bool,
) -> Iterator[Contradiction]:
    """Columns in which a ratio that is named the best (the worst) of all is not, beside another."""
    wrong = [c for c, value in theirs.items() if (value > own[c] if best else value < own[c])]
    if not wrong:
        return
    sentence = (
        "r = 1/4 performs best for each of the three methods (section 4.1)"
        if best
        else "r = 1 performs worst (section A.4)"
    )
    each = ", ".join(f"{theirs[c]:g} against {own[c]:g} on {c}" for c in wrong)
    sizes = {one: number("table6", criterion, "final_mem", one) for one in (named, other)}
    places = [(ratio, values) for ratio, values in ((other, theirs), (named, own))]
    yield Contradiction(
        f"{sentence}, but in accuracy by {criterion} {'more' if best else 'less'} stands at "
        f"{other} in {len(wrong)} of {len(own)} columns (≥{sizes[other]:g}% of the units left, "
        f"here ≥{sizes[named]:g}%): {each}",
        {
            place("table6", ratio, criterion, column): values[column]
            for column in wrong
            for ratio, values in places
        },
    )


@check
def no_loss() -> Iterator[Contradiction]:
    """More than 90% of Full-FT is kept at 50 to 60% compression, in every domain."""
    where, bar = quoted("no loss in accuracy at 50 to 60% compression")
    for name in ("table2", "table8"):
        table = published.table(name)
        for block in table.blocks:
            for row in ("trimllm_50", "trimllm_40"):
                for column in table.columns[:-1]:
                    ours = number(name, row, column, block)
                    full = number(name, "full_ft", column, block)
                    if ours <= bar * full:
                        numbers = {
                            place(name, block, row, column): ours,
                            place(name, block, "full_ft", column): full,
                            where: bar,
                        }
                        yield Contradiction(
                            f"{ours:g} is {100 * ours / full:.0f}% of Full-FT's {full:g} in "
                            f"{place(name, block, row, column)}: below the 90% that section 4.1 "
                            f"asks for, against “no loss at 50 to 60%” of the abstract",
                            numbers,
                            ("no_loss_50",) if block == "llama-7b" else (),
                        )


@check
def unrelated_domains() -> Iterator[Contradiction]:
    """A model specialized elsewhere degrades on a domain that is not near."""
    for name in ("table4", "table5"):
        table = published.table(name)
        for row in table.rows()[1:]:
            domain = row.removesuffix("_specialized")
            for column in table.columns:
                before, after = number(name, "pretrained", column), number(name, row, column)
                if column != domain and NEAR.get(domain) != column and after > before:
                    here, there = (place(name, one, column) for one in ("pretrained", row))
                    yield Contradiction(
                        f"Unrelated domains degrade (section A.3), but the model of {domain} rises "
                        f"on {column} by {after - before:.1f}, from {before:g} to {after:g}",
                        {here: before, there: after},
                        ("specialization",),
                    )


@check
def specialized_below_pretrained() -> Iterator[Contradiction]:
    """Specialized models retain what they can do in their domain: not less, by more than the
    paper's test sets resolve, than the untrained ones."""
    for name in ("table2", "table8"):
        table = published.table(name)
        for block in table.blocks:
            for row in ("trimllm_50", "trimllm_40"):
                for column in table.columns[:-1]:
                    before = number(name, "pretrained", column, block)
                    after = number(name, row, column, block)
                    if before - after >= PAPER_MARGIN:
                        yield Contradiction(
                            f"TrimLLM retains what a model can do in its domain (abstract), but in "
                            f"{block} {row} has {after:g} on {column}, {before - after:.1f} below "
                            f"the untrained {before:g}",
                            {
                                place(name, block, row, column): after,
                                place(name, block, "pretrained", column): before,
                            },
                        )
