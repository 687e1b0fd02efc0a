"""Sizes, speeds and times of the paper against its sentences and equations."""

from __future__ import annotations

from collections.abc import Iterator

from trimllm.throughput.shapes import inside_and_outside, parameters
from trimllm_paper import published
from trimllm_paper.contradictions.finding import Contradiction, check, number, place, quoted
from trimllm_paper.derive import PAPER_UNITS, progressive


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
