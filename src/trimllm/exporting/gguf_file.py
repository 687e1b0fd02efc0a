"""Write a checkpoint as one GGUF file, tensor by tensor: a model larger than memory is no trouble.

Matrices are stored in the asked type, norms and biases in float32. As in llama.cpp's own files the
embeddings and the head of a 4-bit model have more bits, 8 or by K-quants 6; a matrix whose rows do
not hold whole blocks of 256 numbers is no K-quant, and one without whole blocks of 32 has 16 bits.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from trimllm.base.progress import progress_bar
from trimllm.exporting import k_quants
from trimllm.exporting.formats import QUANTIZED
from trimllm.exporting.k_quants import K_TYPES
from trimllm.exporting.layers import Entry, Layers
from trimllm.exporting.vocabulary import vocabulary

ARCHITECTURE = "deci"
_FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "bf16": gguf.LlamaFileType.MOSTLY_BF16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "q6_k": gguf.LlamaFileType.MOSTLY_Q6_K,
    "q4_k": gguf.LlamaFileType.MOSTLY_Q4_K_S,
    "q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
}


def file_name(kind: str) -> str:
    """Name of a file of a kind; the hub reads the type off it."""
    return f"model-{kind.upper()}.gguf"


def type_of(entry: Entry, kind: str) -> Type:
    """How a tensor is stored in a file of a kind ("f16", "q4_0", ...)."""
    if len(entry.shape) == 1:
        return Type.F32
    if kind not in QUANTIZED:
        return Type[kind.upper()]
    wanted = Type[kind.upper()]
    if entry.name.startswith(("token_embd", "output.")):
        wanted = Type.Q6_K if wanted in K_TYPES else Type.Q8_0
    for stored in (wanted, K_TYPES.get(wanted, wanted)):
        if entry.shape[-1] % gguf.GGML_QUANT_SIZES[stored][0] == 0:
            return stored
    return Type.F16


def bytes_of(entry: Entry, kind: str) -> int:
    """Bytes of a tensor as it is stored."""
    block, size = gguf.GGML_QUANT_SIZES[type_of(entry, kind)]
    return math.prod(entry.shape) // block * size


def packed(entry: Entry, layers: Layers, kind: str) -> np.ndarray:
    """A tensor's content as it is stored."""
    content, stored = entry.read(layers.weights).numpy(), type_of(entry, kind)
    if stored in K_TYPES:
        return k_quants.quantize(content, stored)
    return gguf.quants.quantize(content, stored)


def write(
    layers: Layers, tokenizer: Any, path: str | Path, kind: str, *, name: str, about: dict[str, str]
) -> dict[str, int]:
    """Write the file.

    Args:
        layers: the checkpoint.
        tokenizer: its tokenizer.
        path: the file to be.
        kind: type of the matrices.
        name: of the model.
        about: `license`, `description`, where they are known.

    Returns:
        Bytes of tensors: all, of surviving units and what is outside of them, of stand-ins.
    """
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    _add_model(writer, layers, kind, name, about)
    _add_tokenizer(writer, tokenizer, layers.config.vocab_size)
    entries = layers.entries()
    for entry in entries:
        size, stored = bytes_of(entry, kind), type_of(entry, kind)
        writer.add_tensor_info(entry.name, entry.shape, np.float32, size, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    progress = progress_bar(len(entries), "tensors", f"writing GGUF in {kind}")
    for entry in entries:
        writer.write_tensor_data(packed(entry, layers, kind))
        progress.update(1)
    writer.close()
    progress.close()
    sizes = {"total": sum(bytes_of(entry, kind) for entry in entries)}
    idle = (bytes_of(entry, kind) for entry in entries if entry.source is entry.value is None)
    return sizes | {"stand_ins": sum(idle)}


def _add_model(
    writer: gguf.GGUFWriter, layers: Layers, kind: str, name: str, about: dict[str, str]
) -> None:
    config = layers.config
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    if "license" in about:
        writer.add_license(about["license"])
    if "description" in about:
        writer.add_description(about["description"])
    writer.add_file_type(_FILE_TYPES[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(layers.context)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(len(layers.blocks))
    writer.add_feed_forward_length(layers.channels)
    writer.add_head_count(layers.heads)
    writer.add_head_count_kv(layers.kv_heads)
    writer.add_key_length(layers.head_width)
    writer.add_value_length(layers.head_width)
    writer.add_rope_dimension_count(layers.head_width)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, size: int) -> None:
    found = vocabulary(tokenizer, size)
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(found.tokens)
    writer.add_token_types(found.types)
    if found.merges:
        writer.add_token_merges(found.merges)
    if found.scores:
        writer.add_token_scores(found.scores)
    writer.add_add_space_prefix(found.space_prefix)
    special = {
        "bos": (tokenizer.bos_token_id, writer.add_bos_token_id),
        "eos": (tokenizer.eos_token_id, writer.add_eos_token_id),
        "unk": (tokenizer.unk_token_id, writer.add_unk_token_id),
        "pad": (tokenizer.pad_token_id, writer.add_pad_token_id),
    }
    for number, add in special.values():
        if number is not None:
            add(number)
    whole = tokenizer("a").input_ids
    writer.add_add_bos_token(bool(whole) and whole[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(bool(whole) and whole[-1] == tokenizer.eos_token_id)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
