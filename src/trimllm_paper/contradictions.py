"""What in the paper contradicts the paper: found by checking its tables against each other and
against its sentences, never typed.

A check yields `Contradiction`s, each with both numbers and their places. Printed numbers are
rounded: two contradict each other only beyond half of the last printed digit. The sentences that
tables are checked against are quoted with the numbers that they say (`SAYS`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment

from trimllm.base.files import write_text
from trimllm.throughput.shapes import inside_and_outside, parameters
from trimllm_paper import published
from trimllm_paper.derive import FULL_EPOCHS, PAPER_UNITS, SPARSE_FACTOR, progressive
from trimllm_paper.published import NEAR, bound_percent
from trimllm_paper.verdict import KEEPS, PAPER_MARGIN

PAGE = Path(__file__).with_name("contradictions.md.jinja")
SAYS = {
    "up to 3.1x on A100, compared to compression algorithms": ("abstract", 3.1),
    "no loss in accuracy at 50 to 60% compression": ("abstract", KEEPS),
    "more than 16 of 32 decoder layers dropped": ("section A.4", 16.0),
    "as much as 8x in memory, and 4.5x faster, with AWQ": ("section 4.3", 8.0),
    "one layer (or two) after each epoch, by Eq. 5 and 6": ("section A.5", SPARSE_FACTOR),
    "5 epochs of full fine-tuning": ("section A.5, Figure 4", float(FULL_EPOCHS)),
}
"""A sentence of the paper -> its place and number."""
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


@dataclass(frozen=True)
class Contradiction:
    """Numbers that cannot both be right.

    Attributes:
        text: what is wrong, in a sentence that holds the numbers.
        numbers: place -> number, two at least.
        claims: ids of the claims that it speaks against.
    """

    text: str
    numbers: dict[str, float]
    claims: tuple[str, ...] = ()
    tables: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        named = sorted({place.split(",")[0] for place in self.numbers})
        keys = [place.lower().replace(" ", "") for place in named if place.startswith("Table ")]
        object.__setattr__(self, "tables", tuple(keys))


Check = Callable[[], Iterator[Contradiction]]
CHECKS: list[Check] = []


def check(function: Check) -> Check:
    """Enter a check."""
    CHECKS.append(function)
    return function


@cache
def found() -> tuple[Contradiction, ...]:
    """All contradictions, in the order of the checks."""
    return tuple(one for check in CHECKS for one in check())


def of_table(table: str) -> tuple[str, ...]:
    """Those of one table, in words."""
    return tuple(one.text for one in found() if table in one.tables)


def of_claim(claim: str) -> tuple[str, ...]:
    """Those that speak against a claim, in words."""
    return tuple(one.text for one in found() if claim in one.claims)


def place(table: str, *rest: str) -> str:
    """A place in words: "Table 2, llama-7b, full_ft, lexglue"."""
    return ", ".join([f"Table {table.removeprefix('table')}", *filter(None, rest)])


def number(table: str, row: str, column: str, block: str = "") -> float:
    """A printed number or bound. Raises `KeyError` where there is none."""
    value = published.table(table).value(row, column, block)
    if value is None:
        raise KeyError(f"{table} prints nothing for {row}, {column}")
    return bound_percent(value)


def quoted(sentence: str) -> tuple[str, float]:
    """Place and number of a sentence."""
    where, value = SAYS[sentence]
    return f"{where}: “{sentence}”", value


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
    """Accuracies so far below guessing that no ranking of choices by likelihood gives them."""
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
            yield Contradiction(
                f"{len(low)} accuracies on {column} lie more than three standard errors below "
                f"chance ({chance:.1f}%), the lowest {low[where]:g} in {where}: choosing the most "
                "likely choice does not give them",
                {where: low[where], f"chance on {column}": chance},
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
                yield Contradiction(
                    f"“both” is best at every r (section 4.1), but {told} is above {both:g} of "
                    f"both",
                    {where: both, **better},
                    ("both_best",),
                )


@check
def best_ratio() -> Iterator[Contradiction]:
    """r = 1/4 performs best, r = 1 worst, by accuracy."""
    table = published.table("table6")
    for column in table.columns[:-1]:
        by_ratio = {block: number("table6", "both", column, block) for block in table.blocks}
        best, worst = by_ratio["r_1_4"], by_ratio["r_1"]
        for block, value in by_ratio.items():
            numbers = {place("table6", block, "both", column): value}
            if value > best:
                yield Contradiction(
                    f"r = 1/4 performs best (section 4.1), but in accuracy on {column} "
                    f"{value:g} at {block} is above its {best:g}",
                    numbers | {place("table6", "r_1_4", "both", column): best},
                    ("r_quarter_best",),
                )
            if value < worst:
                yield Contradiction(
                    f"r = 1 performs worst (section A.4), but in accuracy on {column} "
                    f"{value:g} at {block} is below its {worst:g}",
                    numbers | {place("table6", "r_1", "both", column): worst},
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
def speed_of_abstract() -> Iterator[Contradiction]:
    """ "Up to" a speedup that its tables exceed."""
    sentence = "up to 3.1x on A100, compared to compression algorithms"
    where, told = quoted(sentence)
    ratios = {
        ("table1", "A100", "trimllm", row): number("table1", "trimllm", "throughput", "A100")
        / number("table1", row, "throughput", "A100")
        for row in published.table("table1").rows("A100")
        if row not in ("fp16", "trimllm")
    }
    full = number("table7", "full_ft", "throughput")
    ratios |= {
        ("table7", "", row, "full_ft"): number("table7", row, "throughput") / full
        for row in ("trimllm", "trimllm_sparsegpt_2_4", "trimllm_awq_int4")
    }
    for (table, block, row, over), ratio in ratios.items():
        if ratio >= told + 0.05:
            there = place(table, block, f"{row} over {over}")
            yield Contradiction(
                f"“{sentence}”, but {ratio:.2f} times in {there}",
                {where: told, there: ratio},
                ("speedup_a100",),
            )


@check
def sizes() -> Iterator[Contradiction]:
    """Final Mem against what is said of drops, and against the parameters that drops leave."""
    final = number("table6", "both", "final_mem", "r_1_4")
    there = place("table6", "r_1_4", "both", "final_mem")
    where, layers = quoted("more than 16 of 32 decoder layers dropped")
    if final >= 100 * (1 - layers / (PAPER_UNITS / 2)):
        yield Contradiction(
            f"More than {layers:g} of {PAPER_UNITS // 2} layers are dropped at r = 1/4 (section "
            f"A.4), but ≥{final:g}% in {there} leaves no more than {layers:g} to drop",
            {where: layers, there: final},
        )
    row = place("table2", "llama-7b", "trimllm_50", "final_mem")
    printed = number("table2", "trimllm_50", "final_mem", "llama-7b")
    attention, mlp = left(0), left(32)
    if mlp < printed:
        yield Contradiction(
            f"Final Mem ≥{printed:g}% of {row} counts units: 32 dropped ones of LLaMA-7B leave "
            f"{mlp:.0f}% of its parameters if all are MLPs, {attention:.0f}% if all are attention",
            {row: printed, "32 MLPs dropped": mlp, "32 attentions dropped": attention},
        )


def left(mlps: int, bits: float = 16) -> float:
    """Percent of its bytes that LLaMA-7B has without 32 units, so many of them MLPs, and with so
    many bits a weight in the others; embeddings and head keep their 16."""
    kept = [*((n, "mlp") for n in range(mlps, 32)), *((n, "attention") for n in range(mlps))]
    inside, outside = inside_and_outside("llama-7b", kept)
    return 100 * (bits / 16 * inside + outside) / parameters("llama-7b")


@check
def bytes_with_awq() -> Iterator[Contradiction]:
    """Half of the units at a quarter of the bits is an eighth of the units, not of all bytes.

    AWQ has 4 bits a weight, and 16 + 4 of scale and zero for each 128.
    """
    where, told = quoted(sentence := "as much as 8x in memory, and 4.5x faster, with AWQ")
    there = place("table7", "trimllm_awq_int4", "final_mem")
    smaller = {f"{n} of 32 are MLPs": 100 / left(n, 4 + 20 / 128) for n in (0, 16, 32)}
    if min(smaller.values()) < told - 0.5:
        each = ", ".join(f"{times:.1f}x if {name}" for name, times in smaller.items())
        numbers = {where: told, there: number("table7", "trimllm_awq_int4", "final_mem")}
        yield Contradiction(
            f"“{sentence}” and >{numbers[there]:g}% in {there} count units and bits: by all bytes "
            f"LLaMA-7B without 32 units and with AWQ is smaller by {each}",
            numbers | smaller,
            ("compression_8x",),
        )


@check
def training_cost() -> Iterator[Contradiction]:
    """Table 9 and Figure 4 against Eq. 5 and 6 with the paper's own factor."""
    where, factor = quoted("one layer (or two) after each epoch, by Eq. 5 and 6")
    half = progressive(PAPER_UNITS, PAPER_UNITS // 2, 2) * factor
    there, told = quoted("5 epochs of full fine-tuning")
    if abs(half - told) >= 0.5:
        yield Contradiction(
            f"Half of {PAPER_UNITS} units dropped two at a time with sparse update costs about "
            f"{told:g} epochs (section A.5), but its Eq. 6 times {factor:g} gives {half:.2f}",
            {"Eq. 6 × 0.6 / N, N = 64, n_d = 32": half, there: told},
            ("two_per_epoch",),
        )
    for epochs in published.table("table9").columns:
        hours = {row: number("table9", row, epochs) for row in published.table("table9").rows()}
        each, count = hours["full_ft"] / int(epochs), int(epochs)
        by_equation = each * factor * progressive(PAPER_UNITS, 2 * count, 2)
        if hours["trimllm"] + 0.05 < by_equation * (1 - 0.05 / hours["full_ft"]):
            printed = place("table9", "trimllm", f"{epochs} epochs")
            yield Contradiction(
                f"TrimLLM takes {hours['trimllm']:g} h for {epochs} epochs in Table 9, but Eq. 6 "
                f"times {factor:g} and its Full-FT of {hours['full_ft']:g} h give "
                f"{by_equation:.1f}",
                {printed: hours["trimllm"], f"{where}, {epochs} epochs": by_equation},
                ("training_time",),
            )


@check
def specialized_below_pretrained() -> Iterator[Contradiction]:
    """The OPT models validate the method, below what was there before any training."""
    table = published.table("table8")
    for block in table.blocks:
        for row in ("trimllm_50", "trimllm_40"):
            for column in table.columns[:-1]:
                before = number("table8", "pretrained", column, block)
                after = number("table8", row, column, block)
                if before - after >= PAPER_MARGIN:
                    yield Contradiction(
                        f"TrimLLM is effective on OPT (section 4.1), but in {block} {row} has "
                        f"{after:g} on {column}, {before - after:.1f} below the untrained "
                        f"{before:g}",
                        {
                            place("table8", block, row, column): after,
                            place("table8", block, "pretrained", column): before,
                        },
                    )


def write(path: str | Path) -> None:
    """The page that lists them all, whole or not at all."""
    page = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    template = page.from_string(PAGE.read_text(encoding="utf-8"))
    write_text(path, template.render(found=found()))
