"""What a model's sizes predict of its speed, read off files: nothing is loaded."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from trimllm.engines.formats import LLAMA
from trimllm.engines.setting import Model
from trimllm.exporting.formats import split_variant
from trimllm.exporting.gguf_file import bytes_of, entries
from trimllm.sublayers import original_units, units
from trimllm.throughput.worker import kv_bytes_per_token, prefill_operations, weight_bytes


def sizes(model: Model, engine: str, dtype: str, prompt: int) -> dict[str, Any]:
    """Units, bytes of weights and of a token in the cache, operations of a prompt.

    Args:
        dtype: of an engine that computes in the type it is told; llama.cpp's cache is float16, its
            weights are those of the file.
        prompt: tokens.
    """
    config = AutoConfig.from_pretrained(model.checkpoint, local_files_only=True)
    with torch.device("meta"):
        kind = getattr(torch, "float16" if engine == LLAMA else dtype)
        made = AutoModelForCausalLM.from_config(config, dtype=kind)
    made.tie_weights()
    found = {
        "units_kept": len(units(made)),
        "units_total": original_units(made),
        "bytes": weight_bytes(made),
        "kv_bytes_per_token": kv_bytes_per_token(made),
        "prefill_operations": prefill_operations(made, prompt),
    }
    if engine == LLAMA:
        kind = split_variant(model.format)[1]
        found |= {"bytes": _gguf_bytes(made, kind)}
        found |= {"precision": kind}
    return found


def _gguf_bytes(model: nn.Module, kind: str) -> dict[str, int]:
    """Bytes of a file's tensors by part, what stands in for missing units among the units'."""
    names = {"token_embd.weight": "embeddings", "output.weight": "head"}
    found = {"units": 0, "embeddings": 0, "head": 0}
    for entry in entries(model):
        found[names.get(entry.name, "units")] += bytes_of(entry, kind)
    return found
