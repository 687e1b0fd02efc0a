"""The three forms of an export, a GGUF file, a checkpoint for vLLM, a stock model; their sizes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from trimllm.checkpoint import store
from trimllm.checkpoint.card import Facts
from trimllm.checkpoint.stock import stock_config, to_stock
from trimllm.exporting import gguf_file
from trimllm.exporting.formats import split_variant

GGUF = """\
Stock llama.cpp reads it (architecture `deci`), and programs built on it:

    llama-server -m {file} -c {context}{options}

Or with the wheel `xllamacpp`: `trimllm serve {file}`.
"""
VLLM = """\
Stock vLLM serves it by its Transformers backend, in one pipeline stage. The modeling file beside
the weights is code, which vLLM runs only with this option: `vllm serve PATH --trust-remote-code`.
"""
PADDED = """\
A stock model of full size, which needs no code of its own: dropped sublayers are present and add
nothing. It saves neither memory nor time. `AutoModelForCausalLM.from_pretrained("PATH")` loads it.
"""


def to_gguf(
    model: nn.Module, tokenizer: Any, source: Path, folder: Path, kind: str, facts: Facts
) -> tuple[dict[str, int], str]:
    """Write a model as one GGUF file into an existing folder, with its config.json for the hub.

    Args:
        source: its checkpoint.
        kind: type of the matrices, of `formats.TYPES`.
        facts: name and license go into the file.

    Returns:
        Bytes of its tensors by part, and how to load it (Markdown).
    """
    file = folder / f"model-{kind.upper()}.gguf"  # the hub reads the type off the name
    sizes = gguf_file.write(model, tokenizer, source, file, kind, facts.name, facts.license)
    shutil.copyfile(source / "config.json", folder / "config.json")
    context = min(4096, gguf_file.context_of(model.config))
    options = " --jinja" if tokenizer.chat_template else ""
    return sizes, GGUF.format(file=file.name, context=context, options=options)


def to_vllm(
    model: nn.Module, tokenizer: Any, source: Path, folder: Path
) -> tuple[dict[str, int], str]:
    """Write a model with the code that vLLM's Transformers backend loads it by (see `to_gguf`)."""
    store.write(model, tokenizer, folder)
    trimmed = getattr(model.config, "units", None) is not None
    loading = VLLM if trimmed else "Stock vLLM serves it: `vllm serve PATH`.\n"
    return store.bytes_by_part(folder), loading


def to_padded(
    model: nn.Module, tokenizer: Any, source: Path, folder: Path
) -> tuple[dict[str, int], str]:
    """Write a stock model of full size (see `to_gguf`)."""
    store.write(to_stock(model), tokenizer, folder)
    return store.bytes_by_part(folder), PADDED


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
