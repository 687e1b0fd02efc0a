"""Seeds: which runs several of them need, and where they would change nothing."""

from __future__ import annotations

import json
import subprocess

import pytest
from configurations import ROOT

from trimllm_paper.__main__ import main
from trimllm_paper.commands import seeds


@pytest.mark.parametrize(
    "target, shown",
    [
        *((f"table{n}", n != 1) for n in range(1, 10)),
        *((name, True) for name in ("all", "tables", "checkpoints", "results/tables/table2.md")),
        *((f"figure{n}", True) for n in range(1, 5)),
        *((name, True) for name in ("claims", "paper_figures/claims.md")),
        ("figures", True),
        ("throughput", False),
        ("table_engines", False),
    ],
)
def test_seeds_are_refused_where_one_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, target: str, shown: bool
) -> None:
    ran: list[list[str]] = []
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(seeds.subprocess, "run", lambda words: ran.append(words) or done)
    status = main(["seeds", target, "--seeds", "3", "4", "-n"])
    (told,) = capsys.readouterr().err.splitlines()
    if shown:
        assert status == 0 and len(ran) == 2 and all("-n" in words for words in ran)
        assert "seed 3 alone" in told
    else:
        assert status == 1 and ran == []
        assert all(word in told for word in ("error: ", target, "table2 to table9", "seed=3"))


def test_every_seed_has_a_folder_and_the_last_run_names_them() -> None:
    config = ROOT / "config" / "config.yaml"
    runs = seeds.commands("table6", [3, 4, 5, 4], [config], "2", ["-n"])
    assert len(runs) == 3 and all("-n" in run and "table6" in run for run in runs)
    values = [dict(word.split("=", 1) for word in run[run.index("--config") + 1 :]) for run in runs]
    assert [value["seed"] for value in values] == ["4", "5", "3"]
    folders = [json.loads(value["results"]) for value in values[:2]]
    assert folders == ["results/seed_4", "results/seed_5"]
    assert json.loads(values[2]["replicates"]) == folders and "results" not in values[2]


def test_the_first_run_that_fails_ends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    failed = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(seeds.subprocess, "run", lambda words: ran.append(words) or failed)
    assert main(["seeds", "table2", "--seeds", "0", "1"]) == 3 and len(ran) == 1
