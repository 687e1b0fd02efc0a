"""A configuration whose model is a tiny one of as many blocks."""

from __future__ import annotations

from pathlib import Path

import yaml
from exports import byte_tokenizer
from models import tiny

import trimllm


def shrunk(configfile: Path, directory: Path, **changed: dict[str, object]) -> Path:
    """The configuration with some keys of sections changed, written into the folder as the model
    is; its results lie beside it."""
    config = yaml.safe_load(configfile.read_text(encoding="utf-8"))
    for section, keys in changed.items():
        config[section] |= keys
    (described,) = config["models"].values()
    model = tiny(
        "llama",
        hidden_size=64,
        head_dim=16,
        intermediate_size=128,
        num_hidden_layers=described["blocks"],
        vocab_size=320,
        max_position_embeddings=8192,
    )
    trimllm.save(model, byte_tokenizer(), directory / "source", dtype="float32")
    described["source"] = {"directory": str(directory / "source")}
    described["parameters"] = model.num_parameters()
    path = directory / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path
