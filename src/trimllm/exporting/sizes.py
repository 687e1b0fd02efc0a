"""How large an export will be, told before it is made."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from trimllm.checkpoint import store
from trimllm.checkpoint.stock import stock_config
from trimllm.exporting.formats import split_variant
from trimllm.exporting.gguf_file import bytes_of
from trimllm.exporting.layers import Layers
from trimllm.throughput.worker import kv_bytes_per_token

TOKENIZER = "tokenizer.json"
CACHE_BYTES = 1 << 28
"""Least memory of a cache that has to be told."""


def expected_bytes(path: str | Path, variant: str) -> int:
    """Bytes of the file, or files, that hold the weights of a checkpoint once it is exported.

    Tensors are exact; what a GGUF file says of the tokenizer is counted as the checkpoint's own
    file of it, which is larger.

    Args:
        path: a dense checkpoint, plain or trimmed.
        variant: one of `VARIANTS`.

    Raises:
        UserError: the model cannot be had in this format.
    """
    directory, _ = store.check_directory(path, verify=False)
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    name, kind = split_variant(variant)
    if kind:
        vocabulary = directory / TOKENIZER
        sizes = [bytes_of(entry, kind) for entry in Layers(config, directory).entries()]
        return sum(sizes) + (vocabulary.stat().st_size if vocabulary.is_file() else 0)
    made = config if name == "vllm" else stock_config(config)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(made, dtype=config.dtype)
    return int(sum(one.numel() * one.element_size() for one in model.parameters()))


def cache_bytes(per_token: int, tokens: int) -> int:
    """Bytes of a cache for so many tokens: twice what they take, for engines hand it out in
    blocks."""
    return max(CACHE_BYTES, 2 * per_token * tokens)


def float32_cache_bytes(path: str | Path, tokens: int) -> int:
    """The same of a checkpoint that is computed in float32, by its configuration alone."""
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return cache_bytes(kv_bytes_per_token(model), tokens)
