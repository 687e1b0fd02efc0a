"""Generated blocks of README.md and docs/results.md: compact tables of the kept runs.

    python -m trimllm_paper.pages        writes the blocks again

A block stands between `<!-- block: NAME -->` and `<!-- end -->`; NAME is a key of `BLOCKS`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from trimllm_paper import published

PAGES = (Path("README.md"), Path("docs/results.md"))
BLOCK = re.compile(r"(<!-- block: (\w+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
SMOLLM2, QWEN = "smollm2-135m", "qwen2.5-coder-0.5b"
TIMED, SHAPE = f"cpu-intel-xeon/{SMOLLM2}", "cpu-intel-xeon/random-llama-1b"
DOMAINS = {"piqa": "PIQA", "sciq": "SciQ†", "medmcqa": "MedMCQA†"}
DOMAINS |= {"lexglue": "LexGLUE†", "financeqa": "FinanceQA†"}
OURS, OURS_50, OURS_30 = "ours, not the paper's: ", "trimllm_50_ours", "trimllm_30_ours"
SIZES = {"true_bytes": "bytes (%)"}
ANSWERS = {"disflqa": "Disfl-QA, F1 (%)", "fiqa_answers": "FiQA, F1 (%)", **SIZES}
ABLATION = {"sciq": "SciQ†", "sciq_minus": "difference"}
ABLATION |= {"lexglue": "LexGLUE†", "lexglue_minus": "difference"}
ENGINES = {"decode": "decoding, tokens/s", "speedup": "decoding, ×", "prefill_speedup": "prompt, ×"}
RATES = {"throughput": "decoding, tokens/s", "speedup": "decoding, ×"}
RATES |= {"prefill": "prompt, tokens/s", "prefill_speedup": "prompt, ×"}
RATES |= {"unit_bytes": "sublayer bytes (%)"}
TABLES: dict[str, tuple[Any, ...]] = {
    "default": ("reference", "table2", DOMAINS | SIZES),
    "real": ("reference_real", "table2", {"sciq": "SciQ itself", **SIZES}),
    "qwen": ("reference_qwen", "table2", {"sciq": "SciQ†", **SIZES}, QWEN),
    "answers": ("reference_answers", "table2", ANSWERS),
    "ablation": ("reference_ablation", "table_a1", ABLATION),
    "speed": ("reference", "table1", RATES, TIMED, 2),
    "shape": ("reference", "table1", RATES, SHAPE, 2),
    "engines": ("reference_timings", "table_engines", ENGINES, f"cpu-amd-epyc/{SMOLLM2}", 2),
}
"""Block -> arguments of `_table`."""
RECIPES = {
    "Pretrained": "pretrained",
    "Full-FT": "full_ft",
    "AWQ, int4": "awq_int4",
    "LLM-Pruner, half of the sublayers' parameters": "llm_pruner",
    "TrimLLM, 50% of the sublayers, the paper's recipe": "trimllm_50",
    "TrimLLM, 50%, our recipe": OURS_50,
    "TrimLLM, 30%, our recipe": OURS_30,
}
"""Rows of README's first table."""


def _kept(run: str, table: str, model: str = SMOLLM2) -> pd.DataFrame:
    """Cells of a model in a kept table, by row and column."""
    cells = pd.read_csv(Path("results", run, "tables", f"{table}.csv"))
    return cells[cells["block"] == model].set_index(["row", "column"])


def _text(cells: pd.DataFrame, row: str, column: str, digits: int = 1) -> str:
    """A cell with its 95% interval."""
    value, low, high = (cells[key].get((row, column)) for key in ("value", "low", "high"))
    if pd.isna(value):
        return "–"
    shown = not pd.isna(low) and column not in SIZES  # of sizes they are not an interval
    interval = f" ({low:.{digits}f} to {high:.{digits}f})" if shown else ""
    return f"{value:.{digits}f}{interval}"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _table(
    run: str, table: str, columns: Mapping[str, str], model: str = SMOLLM2, digits: int = 1
) -> str:
    """Some columns of a kept table: every row that has a number in the first one, by section."""
    cells, lines = _kept(run, table, model), []
    first = cells.xs(next(iter(columns)), level="column")
    first = first[first["value"].notna()].fillna({"section": ""})
    for section, rows in first.groupby("section", sort=False):
        if section:
            lines.append([f"*{str(section).removeprefix(OURS)}*", *([""] * len(columns))])
        for row, label in rows["row_label"].items():
            lines.append([label, *(_text(cells, str(row), c, digits) for c in columns)])
    return _markdown(["", *columns.values()], lines)


def _results() -> str:
    """SciQ itself, then the default's five domains, beside the paper's numbers."""
    real, default = _kept("reference_real", "table2"), _kept("reference", "table2")
    rows = [
        [label, _text(real, row, "sciq"), *(_text(default, row, domain) for domain in DOMAINS)]
        for label, row in RECIPES.items()
    ]
    printed = [published.accuracies("llama-7b", domain) for domain in ("sciq", *DOMAINS)]
    paper = [f"{one['full_ft']:.1f} / {one['trimllm_50']:.1f}" for one in printed]
    rows.append(["*The paper, LLaMA-7B: Full-FT / 50%*", *paper])
    return _markdown(["", "SciQ itself", *DOMAINS.values()], rows)


def _trade() -> str:
    """Bytes, accuracy and speed of quantizing, trimming, and both."""
    accuracy, both = _kept("reference", "table2"), _kept("reference", "table7", TIMED)
    small, large = _kept("reference", "table1", TIMED), _kept("reference", "table1", SHAPE)
    both_ways, composed = "TrimLLM, 50%, the paper's recipe, and AWQ", "trimllm_50_awq_int4"
    subjects = [  # label, table and row of accuracy, column of bytes, rows of both timings
        ("AWQ, int4", accuracy, "awq_int4", "true_bytes", "awq_int4", "awq_int4"),
        ("TrimLLM, 50%, our recipe", accuracy, OURS_50, "true_bytes", OURS_50, "trimllm_50"),
        ("TrimLLM, 30%, our recipe", accuracy, OURS_30, "true_bytes", OURS_30, "trimllm_30"),
        (both_ways, both, "trimllm_awq_int4", "mem", composed, composed),
    ]
    rows = []
    for label, cells, row, column, timed, shape in subjects:
        sizes = [_text(cells, row, column, 0), _text(cells, row, "sciq")]
        speeds = [_text(small, timed, one, 2) for one in ("speedup", "prefill_speedup")]
        rows.append([label, *sizes, *speeds, _text(large, shape, "speedup", 2)])
    header = ["", "bytes (%)", "accuracy (%)", "decoding, ×", "prompt, ×", "decoding at 1B, ×"]
    return _markdown(header, rows)


BLOCKS: dict[str, Callable[[], str]] = {
    **{"results": _results, "trade": _trade},
    **{name: partial(_table, *arguments) for name, arguments in TABLES.items()},
}


def filled(text: str) -> str:
    """A page with its blocks made again."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{BLOCKS[block[2]]()}\n", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
