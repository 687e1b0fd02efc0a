"""Size of an export before it is made, for planning and choosing."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from trimllm.checkpoint import store
from trimllm.checkpoint.stock import stock_config
from trimllm.exporting import gguf_file
from trimllm.exporting.formats import split_variant


def expected_bytes(path: str | Path, variant: str) -> int:
    """Bytes of the files that hold an exported checkpoint's weights, by its configuration.

    Tensors are exact; the vocabulary of a GGUF file counts as tokenizer.json, which is larger.

    Args:
        path: a dense checkpoint, plain or trimmed.
        variant: one of `VARIANTS`.

    Raises:
        UserError: the model cannot be exported in this format.
    """
    directory, _ = store.check_directory(path, verify=False)
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    name, kind = split_variant(variant)
    with torch.device("meta"):
        written = stock_config(config) if name == "padded" else config
        model = AutoModelForCausalLM.from_config(written, dtype=config.dtype)
    model.tie_weights()
    if name != "gguf":
        return sum(one.numel() * one.element_size() for one in model.parameters())
    gguf_file.check(config, directory)
    vocabulary = directory / "tokenizer.json"
    tensors = sum(gguf_file.bytes_of(entry, kind) for entry in gguf_file.entries(model))
    return tensors + (vocabulary.stat().st_size if vocabulary.is_file() else 0)
