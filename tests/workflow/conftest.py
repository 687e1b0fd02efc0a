"""The smoke run that several tests look at, and what must be refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from models import tiny, word_tokenizer
from runs import CUT, DOMAIN, MODEL, ROWS, complaint, listing, snakemake

import trimllm


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole smoke DAG has run, after the fetch without a network."""
    directory = tmp_path_factory.mktemp("smoke")
    # Fetching may use the network; nothing after it can, where the system lets us cut it off.
    for targets, cut in (
        ((f"{MODEL}/base/pretrained/manifest.json", "data"), []),
        (("table2",), CUT),
    ):
        run = snakemake(directory, *targets, prefix=cut)
        assert run.returncode == 0, run.stderr[-4000:]
    return directory


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Run what must be refused; returns the only line that complains."""

    def run(*arguments: str, **options: object) -> str:
        before = listing(tmp_path)
        done = snakemake(tmp_path, *(arguments or ("table2",)), **options)
        line = complaint(done)
        after = {name for name in listing(tmp_path) if not name.startswith("logs/")}
        assert after == set(before)
        return line

    return run


@pytest.fixture
def sums(tmp_path: Path) -> Callable[..., None]:
    """Write a domain of local files: rows by set."""

    def write(**rows: list[object]) -> None:
        (tmp_path / "domains").mkdir()
        (tmp_path / "domains/sums.yaml").write_text(DOMAIN)
        for name, content in rows.items():
            text = "".join(json.dumps(row) + "\n" for row in content)
            (tmp_path / f"{name}.jsonl").write_text(text)

    return write


@pytest.fixture
def domain(sums: Callable[..., None], tmp_path: Path) -> dict[str, object]:
    """Configuration of a domain that is prepared in a second."""
    sums(train=ROWS[:90], calibration=ROWS[100:120], test=ROWS[160:])
    return {"domains": '["sums"]', "domains_folder": tmp_path / "domains"}


@pytest.fixture
def project(tmp_path: Path, sums: Callable[..., None]) -> dict[str, Any]:
    """A folder with a tiny model and a domain of words; options of runs in it."""
    model = tiny("llama")
    trimllm.save(model, word_tokenizer(), tmp_path / "source")
    rows = [
        {"q": f"w{i % 97} w{i // 97}", "c": [f"w{i % 89}", f"w{i % 83 + 5}"], "a": 0}
        for i in range(96)
    ]
    sums(train=rows[:64], calibration=rows[64:80], test=rows[80:])
    entry = {
        "label": "tiny",
        "family": "llama",
        "blocks": model.config.num_hidden_layers,
        "parameters": sum(one.numel() for one in model.parameters()),
        "source": {"directory": str(tmp_path / "source")},
    }
    config = {
        "domains_folder": "domains",
        "models": {"tiny": entry},
        "domains": ["sums"],
        "finetune": {"batch_size": 8, "epochs": 1},
        "trim": {"kept_percent": [60], "calibration_documents": 4},
        "compress": {"methods": []},
        "throughput": {"checkpoints": False},
        "compute": {"device": "cpu", "processes": 4},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return {"configfile": path}
