"""The kept run of the default: the first table that somebody new sees."""

from __future__ import annotations

import csv

from configurations import ROOT, configuration

from trimllm_paper.config import load, read_yaml

KEPT = ROOT / "results/reference"


def test_it_is_of_the_default_as_it_is() -> None:
    """But for where things lie and how jobs are run."""
    file = KEPT / "config.yaml"
    kept, now = load(read_yaml(file), [file]), configuration("config")
    for section in ("recipes", "finetune", "trim", "compress", "evaluate", "domains", "seed"):
        assert getattr(kept, section) == getattr(now, section), section


def test_a_trimmed_model_of_it_has_not_collapsed() -> None:
    """Half of the units by our recipe are above chance by their interval, in every column."""
    with (KEPT / "tables/table2.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["row"] == "trimllm_50_ours"]
    found = {row["column"]: row for row in rows if row["chance"]}
    assert set(found) == set(configuration("config").domains)
    for column, row in found.items():
        assert float(row["ci95_low"]) > float(row["chance"]), column
