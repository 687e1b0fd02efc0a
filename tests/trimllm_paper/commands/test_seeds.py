"""Seeds: which runs several of them need, and where they would change nothing."""

import json
import subprocess

import pytest

from trimllm_paper.__main__ import main
from trimllm_paper.commands import plan


def test_every_seed_has_a_folder_and_the_last_run_names_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[list[str]] = []

    def run(words: list[str]) -> subprocess.CompletedProcess:
        ran.append(words)
        return subprocess.CompletedProcess([], 3 * ("table9" in words))

    monkeypatch.setattr(plan.subprocess, "run", run)
    assert main(["seeds", "table6", "--seeds", "3", "4", "5", "4", "-n"]) == 0
    assert len(ran) == 3 and all("-n" in words and "table6" in words for words in ran)
    values = [dict(word.split("=", 1) for word in w[w.index("--config") + 1 :]) for w in ran]
    assert [value["seed"] for value in values] == ["4", "5", "3"]
    folders = [json.loads(value["results"]) for value in values[:2]]
    assert folders == ["results/seed_4", "results/seed_5"]
    assert json.loads(values[2]["replicates"]) == folders and "results" not in values[2]
    # The first run that fails ends all.
    assert main(["seeds", "table9", "--seeds", "0", "1"]) == 3 and len(ran) == 4
