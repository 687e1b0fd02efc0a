"""Configurations whose model is a tiny one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from exports import byte_tokenizer
from models import tiny

import trimllm

DOMAIN = """
label: sums
licence: none
sets:
  rows:
    from: [{file: sums.jsonl}]
    fields: {question: q, choices: c, answer: a}
train: rows
tests:
  sums: {set: rows}
"""


def small_model(folder: Path, blocks: int) -> int:
    """Save a model with a tokenizer of bytes; its number of parameters."""
    model = tiny(
        "llama",
        hidden_size=64,
        head_dim=16,
        intermediate_size=128,
        num_hidden_layers=blocks,
        vocab_size=320,
        max_position_embeddings=8192,
    )
    trimllm.save(model, byte_tokenizer(), folder, dtype="float32")
    return model.num_parameters()


def shrunk(configfile: Path, directory: Path, **changed: dict[str, object]) -> Path:
    """A configuration with some keys of sections changed and a tiny model of as many blocks,
    written into the folder."""
    config = yaml.safe_load(configfile.read_text(encoding="utf-8"))
    for section, keys in changed.items():
        config[section] |= keys
    (described,) = config["models"].values()
    described["parameters"] = small_model(directory / "source", described["blocks"])
    described["source"] = {"directory": str(directory / "source")}
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def write_project(folder: Path) -> None:
    """A configuration of every kind of job: a model of 12 sublayers, a domain of own rows, a chain
    of the paper's recipe and one from Full-FT with a teacher, each of two epochs."""
    (folder / "domains").mkdir()
    (folder / "domains/sums.yaml").write_text(DOMAIN)
    rows = (
        {"q": f"What is {i} and one?", "c": [f"{i + 1}", f"{i + 2}"], "a": 0} for i in range(99)
    )
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = {"label": "Tiny", "family": "llama", "blocks": 6, "learning_rate": 1e-3}
    entry |= {"parameters": small_model(folder / "source", 6), "source": {"directory": "source"}}
    paper = {"criterion": "both", "ratio": 0.25, "step": 6, "settle": 1}
    ours = {"criterion": "likelihood", "ratio": 1, "step": 6, "settle": 1, "start": "full_ft"}
    timing: dict[str, Any] = {"tokens": 24, "generate": 4, "repeats": 3, "threads": 1}
    config = {
        "domains_folder": "domains",
        "domains": ["sums"],
        "models": {"tiny": entry},
        "recipes": {"paper": paper, "ours": ours | {"teacher": {"kl": 0.7, "hidden": 1.0}}},
        "finetune": {"epochs": 1, "documents": 8, "held_back_documents": 8, "batch_size": 4},
        "trim": {
            "recipes": ["paper", "ours"],
            "kept_percent": [50],
            "documents": 8,
            "calibration_documents": 4,
            "calibration_pool": 8,
        },
        "tables": {
            "domains": ["sums"],
            "criteria": ["both"],
            "rules": ["bottom"],
            "ratios": [0.25],
        },
        "evaluate": {"documents": 8},
        "compress": {
            "methods": ["llm_int8"],
            "calibration_documents": 8,
            "held_back_documents": 8,
        },
        "throughput": timing
        | {"shapes": ["llama-tiny"], "kept_percent": [50], "compressors": [], "composed": []},
        "compute": {"device": "cpu"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
