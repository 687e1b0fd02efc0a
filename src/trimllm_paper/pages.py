"""Generated blocks of README.md and docs/results.md: compact tables of the kept runs.

    python -m trimllm_paper.pages        writes the blocks again

A block stands between `<!-- block: NAME -->` and `<!-- end -->`; NAME is a key of `BLOCKS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

PAGES = (Path("README.md"), Path("docs/results.md"))
BLOCK = re.compile(r"(<!-- block: (\w+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
SMOLLM2, QWEN = "smollm2-135m", "qwen2.5-coder-0.5b"
TIMED, SHAPE = f"cpu-amd-epyc/{SMOLLM2}", "cpu-amd-epyc/random-llama-1b"
DOMAINS = {
    "piqa": "PIQA",
    "sciq": "SciQ†",
    "medmcqa": "MedMCQA†",
    "lexglue": "LexGLUE†",
    "financeqa": "FinanceQA†",
}
OURS = "ours, not the paper's"
SIZES = {"true_bytes": "bytes (%)"}
RATES = {
    "throughput": "decoding (tokens/s)",
    "speedup": "× full model",
    "prefill": "prompt (tokens/s)",
    "unit_bytes": "sublayer bytes (%)",
}
IN_ENGINES = {
    "decode": "decoding (tokens/s)",
    "speedup": "× full model",
    "prefill_speedup": "prompt, × full model",
}


class Kept:
    """A kept table of a model: its cells by row and column."""

    def __init__(self, run: str, table: str, model: str = SMOLLM2) -> None:
        cells = pd.read_csv(Path("results", run, "tables", f"{table}.csv"))
        self.cells = cells[cells["block"] == model].set_index(["row", "column"])

    def value(self, row: str, column: str) -> float:
        """A cell's number; NaN where it was not run."""
        return float(self.cells["value"].get((row, column), float("nan")))

    def text(self, row: str, column: str, digits: int = 1) -> str:
        """A cell with its 95% interval."""
        if pd.isna(value := self.value(row, column)):
            return "–"
        low, high = (self.cells.at[(row, column), key] for key in ("low", "high"))
        shown = not pd.isna(low) and column not in SIZES  # of sizes they are not an interval
        interval = f" ({low:.{digits}f} to {high:.{digits}f})" if shown else ""
        return f"{value:.{digits}f}{interval}"

    def printed(self, row: str, column: str) -> str:
        """The paper's number for a cell."""
        return f"{float(self.cells.at[(row, column), 'printed']):.1f}"

    def markdown(self, columns: Mapping[str, str], digits: int = 1) -> str:
        """Every row that has a number in the first column."""
        first = self.cells.xs(next(iter(columns)), level="column")
        first = first[first["value"].notna()]
        sections = first["section"].fillna("").str.partition(":")[0].replace(OURS, "our recipe")
        labels = first["row_label"].str.cat(sections, sep=", ").str.strip(", ")
        rows = [
            [label, *(self.text(str(row), column, digits) for column in columns)]
            for row, label in labels.items()
        ]
        return _markdown(["", *columns.values()], rows)


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _results() -> str:
    """SciQ itself, then the default's five domains, beside the paper's numbers."""
    real, default = Kept("reference_real", "table2"), Kept("reference", "table2")
    recipes = {
        "Pretrained": "pretrained",
        "Full-FT": "full_ft",
        "AWQ, int4": "awq_int4",
        "LLM-Pruner, half of the sublayers' parameters": "llm_pruner",
        "TrimLLM, 50% of the sublayers, the paper's recipe": "trimllm_50",
        "TrimLLM, 50%, our recipe": "trimllm_50_ours",
        "TrimLLM, 30%, our recipe": "trimllm_30_ours",
    }
    rows = [
        [label, real.text(row, "sciq"), *(default.text(row, domain) for domain in DOMAINS)]
        for label, row in recipes.items()
    ]
    paper = {
        domain: f"{default.printed('full_ft', domain)} / {default.printed('trimllm_50', domain)}"
        for domain in DOMAINS
    }
    rows.append(["*The paper, LLaMA-7B: Full-FT / 50%*", paper["sciq"], *paper.values()])
    return _markdown(["", "SciQ itself", *DOMAINS.values()], rows)


def _trade() -> str:
    """Bytes, accuracy and speed of quantizing, trimming, and both."""
    accuracy = Kept("reference", "table2")
    small, large = Kept("reference", "table1", TIMED), Kept("reference", "table1", SHAPE)
    both, prompt = Kept("reference", "table7", TIMED), small.value("fp16", "prefill")

    def row(label: str, sizes: Kept, size: tuple[str, str], timed: str, shape: str) -> list[str]:
        return [
            label,
            sizes.text(*size, 0),
            sizes.text(size[0], "sciq"),
            small.text(timed, "speedup", 2),
            f"{small.value(timed, 'prefill') / prompt:.2f}",
            large.text(shape, "speedup", 2),
        ]

    rows = [
        row("AWQ, int4", accuracy, ("awq_int4", "true_bytes"), "awq_int4", "awq_int4"),
        *(
            row(
                f"TrimLLM, {kept}%, our recipe",
                accuracy,
                (f"trimllm_{kept}_ours", "true_bytes"),
                f"trimllm_{kept}_ours",
                f"trimllm_{kept}",
            )
            for kept in (50, 30)
        ),
        row(
            "TrimLLM, 50%, the paper's recipe, and AWQ",
            both,
            ("trimllm_awq_int4", "mem"),
            "trimllm_50_awq_int4",
            "trimllm_50_awq_int4",
        ),
    ]
    header = ["", "bytes (%)", "accuracy (%)", "decoding, ×", "prompt, ×", "decoding at 1B, ×"]
    return _markdown(header, rows)


def _answers() -> str:
    columns = {"disflqa": "Disfl-QA, F1 (%)", "fiqa_answers": "FiQA, F1 (%)", **SIZES}
    return Kept("reference_answers", "table2").markdown(columns)


def _ablation() -> str:
    return Kept("reference_ablation", "table_a1").markdown(
        {
            "sciq": "SciQ†",
            "sciq_minus": "difference",
            "lexglue": "LexGLUE†",
            "lexglue_minus": "difference",
        }
    )


def _accuracies(run: str, domains: Mapping[str, str], model: str = SMOLLM2) -> Callable[[], str]:
    return lambda: Kept(run, "table2", model).markdown({**domains, **SIZES})


def _engines() -> str:
    return Kept("reference_timings", "table_engines", f"cpu-intel-xeon/{SMOLLM2}").markdown(
        IN_ENGINES, 2
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "results": _results,
    "trade": _trade,
    "default": _accuracies("reference", DOMAINS),
    "real": _accuracies("reference_real", {"sciq": "SciQ itself"}),
    "larger": _accuracies("reference_larger", {"sciq": "SciQ†", "lexglue": "LexGLUE†"}),
    "qwen": _accuracies("reference_qwen", {"sciq": "SciQ†"}, QWEN),
    "answers": _answers,
    "ablation": _ablation,
    "speed": lambda: Kept("reference", "table1", TIMED).markdown(RATES, 2),
    "shape": lambda: Kept("reference", "table1", SHAPE).markdown(RATES, 2),
    "engines": _engines,
}


def filled(text: str) -> str:
    """A page with its blocks made again."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{BLOCKS[block[2]]()}\n", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
