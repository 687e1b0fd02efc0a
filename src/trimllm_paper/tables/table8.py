"""Table 8: the rows of Table 2 for OPT models."""

from __future__ import annotations

from typing import Any

from trimllm_paper import published
from trimllm_paper.tables import table2
from trimllm_paper.tables.columns import all_columns
from trimllm_paper.tables.table import Table

PAPER = published.table("table8")
COMPARED = "opt-1.3b"
FAMILY = "opt"


def build(evals: Any, models: Any, domains: Any, **options: Any) -> Table:
    """Table 8 from evaluation files; arguments as in `table2.build`.

    Models of another family than OPT say nothing about it and are left out.
    """
    kept = [model for model in models if model.get("family") == FAMILY]
    # Without a model the table is the paper's alone, on its own data.
    columns = all_columns(PAPER, domains if kept else ())
    return table2.build(
        evals if kept else (), kept, columns, table="table8", compared=COMPARED, **options
    )
