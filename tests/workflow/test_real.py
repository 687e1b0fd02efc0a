"""The real data sets, from the hub, or out of local files: here these files, made small."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from runs import CUT, ROOT, counts, snakemake

REAL = ROOT / "config" / "real.yaml"
LOCAL = {"domains_folder": "config/domains/mirror"}
DOMAINS = sorted((ROOT / "config" / "domains" / "mirror").glob("*.yaml"))
# The configuration's limits are for more than 40 rows.
SMALL = {
    "trim": json.dumps({"calibration_documents": 4}),
    "evaluate": json.dumps({"documents": 8}),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with every file that the example's domains name, of 40 rows each."""
    folder = tmp_path / "data"
    for number, name in enumerate(named_files()):
        rows = [
            {
                # as in CaseHOLD, where only the context tells rows apart
                "question": "What comes after this?"
                if "casehold" in name
                else f"What comes after {100 * number + row} in file {number}?",
                "context": f"Numbers grow by one, {100 * number + row} like the others.",
                "choices": [f"number {row + i}" for i in range(1, 5)],
                "answer": row % 4,
                "answer_text": f"Up from {100 * number + row} one by one we soon come to {row}.",
            }
            for row in range(40)
        ]
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def named_files() -> list[str]:
    texts = "".join(path.read_text() for path in DOMAINS)
    return sorted(set(re.findall(r"\$\{TRIMLLM_DATA\}/([^\"]+)", texts)))


def test_every_domain_is_read_without_a_network(tmp_path: Path, data: Path) -> None:
    run = snakemake(
        tmp_path,
        "data",
        "results/data/pubmedqa/report.json",
        "results/data/legalbench/report.json",
        prefix=CUT,
        configfile=REAL,
        extra={"TRIMLLM_DATA": str(data)},
        tables=json.dumps({"near": {"medmcqa": "pubmedqa", "lexglue": "legalbench"}}),
        **SMALL,
        **LOCAL,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    for path in DOMAINS:
        domain = yaml.safe_load(path.read_text())
        folder = tmp_path / "results" / "data" / path.stem
        report = json.loads((folder / "report.json").read_text())
        sizes = {name: split["documents"] for name, split in report["splits"].items()}
        expected = {f"tests/{task}": 8 for task in domain["tests"]}
        if train := domain.get("train"):
            own = any(test["set"] == train for test in domain["tests"].values())
            free = 40 - 8 * own
            # A tenth and a quarter, but four at least.
            expected |= {"held_back": max(4, free // 10), "calibration": max(4, free // 4)}
            expected["train"] = free - expected["held_back"] - expected["calibration"]
        assert sizes == expected, path.stem
        assert sum(entry["rows_failed"] for entry in report["sets"].values()) == 0


@pytest.mark.parametrize("local", [True, False], ids=["local", "hub"])
def test_one_word_builds_it_all(tmp_path: Path, data: Path, local: bool) -> None:
    where = {"extra": {"TRIMLLM_DATA": str(data)}, **LOCAL} if local else {}
    run = snakemake(tmp_path, "-n", "all", configfile=REAL, downloads="downloads", **where)
    assert run.returncode == 0, run.stderr
    told = run.stdout + run.stderr
    jobs = counts(told)
    assert jobs["full_ft"] == 5 and jobs["fetch_model"] == 1 and "render table4" in told


def test_one_domain_alone_needs_no_other_key_changed(tmp_path: Path, data: Path) -> None:
    """As the header says; near domains of others are no concern of this run."""
    where = {"extra": {"TRIMLLM_DATA": str(data)}, "domains": json.dumps(["sciq"]), **LOCAL}
    near = json.dumps({"near": {"medmcqa": "pubmedqa"}, "domains": ["sciq"]})
    run = snakemake(tmp_path, "-n", "table2", "table4", configfile=REAL, tables=near, **where)
    assert run.returncode == 0, run.stderr
    jobs = counts(run.stdout + run.stderr)
    assert jobs["full_ft"] == 1 and jobs["table4"] == 1 and "prepare_pubmedqa" not in jobs


def test_a_missing_variable(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIMLLM_DATA", raising=False)
    line = refused(configfile=REAL, **LOCAL)
    assert "TRIMLLM_DATA is not set" in line and '"piqa"' in line
