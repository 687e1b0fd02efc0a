"""A model as one GGUF file for stock llama.cpp.

llama.cpp's architecture `deci` (Llama-Nemotron) has blocks without attention: no head, no tensor.
Its other limits were determined by trial:
- A block with `feed_forward_length` 0 loses its attention's output too: a block without MLP gets
  one of 32 channels, all zero.
- The head width is read from block 0: if its attention was dropped it gets one head, all zero.
- Sliding windows are not read: the longest context is the window.
"""

from __future__ import annotations

import ctypes
import importlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.base.names import GGUF_FAMILIES
from trimllm.base.progress import progress_bar
from trimllm.checkpoint.stock import missing_units
from trimllm.exporting.formats import LLAMA_CPP, QUANTIZED
from trimllm.exporting.vocabulary import vocabulary
from trimllm.sublayers import family_of
from trimllm.sublayers.modeling_trimllm import decoder_of

ZERO_CHANNELS = 32
"""Width of the MLP in place of a missing one: a block of quantized numbers."""
ROPE_TYPES = ("default", "linear", "llama3")
"""Position scalings that are one factor for each frequency."""
NARROW_ROWS = {Type.Q4_K: Type.Q5_0, Type.Q6_K: Type.Q8_0}
"""llama.cpp's choice for rows that are no whole K-quant blocks of 256 numbers."""


@dataclass(frozen=True)
class Entry:
    """One tensor of a GGUF file.

    Attributes:
        name: in the file.
        shape: (rows, columns), or (width,) of a norm or bias.
        source: name of the model's parameter; None for a constant.
        heads: of a query or key, whose rows llama.cpp orders differently.
        value: of a constant that is not zero.
    """

    name: str
    shape: tuple[int, ...]
    source: str | None = None
    heads: int | None = None
    value: Tensor | None = None


def check(config: Any, path: str | Path) -> None:
    """Raise `UserError` if `deci` does not compute what a model with this configuration does."""
    family, why = family_of(config.model_type), None
    if family not in GGUF_FAMILIES:
        why = f"runs no trimmed {family} (it runs {', '.join(GGUF_FAMILIES)})"
    elif config.hidden_act != "silu":
        why = f"computes silu, this model {config.hidden_act}"
    elif (rope := config.rope_parameters["rope_type"]) not in ROPE_TYPES:
        why = f"supports positions scaled by {', '.join(ROPE_TYPES)}, not by {rope}"
    if why:
        raise UserError(f"{path}: llama.cpp {why}; export it as padded")


def context_of(config: Any) -> int:
    """Longest context in llama.cpp, tokens."""
    used = getattr(config, "use_sliding_window", True)
    window = getattr(config, "sliding_window", None) if used else None
    return min(config.max_position_embeddings, window or config.max_position_embeddings)


def head_width(config: Any) -> int:
    """Channels of a head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def entries(model: nn.Module) -> list[Entry]:
    """Every tensor of a model's GGUF file; the model may be on the meta device."""
    config, width = model.config, head_width(model.config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.DECI, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    tensors = []
    for source, parameter in model.named_parameters():  # a tied head is not among them
        name = names.get_name(source, try_suffixes=(".weight", ".bias"))
        tensors.append(Entry(name, parameter.shape, source, heads.get(source.split(".")[-2])))
    for block, kind in missing_units(model):
        tensors += _zeros(config, block, kind)
    if config.rope_parameters["rope_type"] != "default":  # divisors of the frequencies
        scaled = decoder_of(model).rotary_emb.inv_freq.float()
        powers = torch.arange(0, width, 2, device=scaled.device) / width
        factors = config.rope_parameters["rope_theta"] ** -powers / scaled
        tensors.append(Entry("rope_freqs.weight", factors.shape, value=factors))
    return tensors


def _zeros(config: Any, block: int, kind: str) -> Iterator[Entry]:
    """Zero tensors in place of a missing sublayer, where `deci` needs them."""
    if kind == "attention" and block:
        return
    width, names, inner = config.hidden_size, "ffn_norm ffn_gate ffn_up ffn_down", ZERO_CHANNELS
    if kind == "attention":
        names, inner = "attn_norm attn_q attn_k attn_v attn_output", head_width(config)
    norm, *into, out = (f"blk.{block}.{name}.weight" for name in names.split())
    yield Entry(norm, (width,))
    yield from (Entry(name, (inner, width)) for name in into)
    yield Entry(out, (width, inner))


def type_of(entry: Entry, kind: str) -> Type:
    """Type of a tensor in a file of a kind ("f16", "q4_0", ...).

    Norms and biases are float32. As in llama.cpp's own files, embeddings and head of a 4-bit model
    have 6 bits (K-quants) or 8.
    """
    if len(entry.shape) == 1:
        return Type.F32
    matrices = Type[kind.upper()]
    if kind not in QUANTIZED:
        return matrices
    if entry.name.startswith(("token_embd", "output.")):
        matrices = Type.Q6_K if matrices in NARROW_ROWS else Type.Q8_0
    for stored in (matrices, NARROW_ROWS.get(matrices, matrices)):
        if entry.shape[-1] % gguf.GGML_QUANT_SIZES[stored][0] == 0:
            return stored
    return Type.F16


def bytes_of(entry: Entry, kind: str) -> int:
    """Bytes of a tensor in a file of a kind."""
    block, size = gguf.GGML_QUANT_SIZES[type_of(entry, kind)]
    return math.prod(entry.shape) // block * size


def packed(entry: Entry, state: Mapping[str, Tensor], kind: str) -> np.ndarray:
    """Content of a tensor as stored; `state`: the model's parameters by name."""
    content = torch.zeros(entry.shape) if entry.value is None else entry.value
    if entry.source is not None:
        content = state[entry.source].detach().float()
    if entry.heads is not None:
        # transformers rotates value i of a head with value i + width / 2, llama.cpp neighbours.
        halves = content.view(entry.heads, 2, -1, *content.shape[1:])
        content = halves.transpose(1, 2).reshape(entry.shape)
    stored = type_of(entry, kind)
    plain = stored in (Type.F32, Type.F16, Type.BF16)
    return (gguf.quantize if plain else quantize)(content.numpy(), stored)


def quantize(content: np.ndarray, kind: Type) -> np.ndarray:
    """Rows of float32 (rows, width) as bytes (rows, bytes) of a quantized type, by llama.cpp: the
    `gguf` package cannot write K-quants."""
    library = ctypes.CDLL(importlib.import_module(f"{LLAMA_CPP}.{LLAMA_CPP}").__file__)
    content = np.ascontiguousarray(content)
    stored = np.empty(gguf.quant_shape_to_byte_shape(content.shape, kind), dtype=np.uint8)
    data = (ctypes.c_void_p(array.ctypes.data) for array in (content, stored))
    start_rows_width = map(ctypes.c_int64, (0, *content.shape))
    library.ggml_quantize_chunk(int(kind), *data, *start_rows_width, None)
    return stored


def write(
    model: nn.Module,
    tokenizer: Any,
    source: str | Path,
    file: Path,
    kind: str,
    name: str,
    license: str | None = None,
) -> None:
    """Write a GGUF file with matrices of a type of `formats.TYPES`.

    Args:
        source: the model's checkpoint, for the files of its tokenizer.

    Raises:
        UserError: llama.cpp does not compute what this model does, or lacks its tokenizer.
    """
    check(model.config, source)
    writer = gguf.GGUFWriter(file, "deci")
    writer.add_name(name)
    if license:
        writer.add_license(license)
    _add_model(writer, model)
    _add_tokenizer(writer, tokenizer, source, model.config.vocab_size)
    tensors, state = entries(model), dict(model.named_parameters())
    for entry in tensors:
        size, stored = bytes_of(entry, kind), type_of(entry, kind)
        writer.add_tensor_info(entry.name, entry.shape, np.float32, size, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    with progress_bar(len(tensors), "tensors", f"writing GGUF in {kind}") as progress:
        for entry in tensors:
            writer.write_tensor_data(packed(entry, state, kind))
            progress.update()
    writer.close()


def _add_model(writer: gguf.GGUFWriter, model: nn.Module) -> None:
    config, missing, width = model.config, missing_units(model), head_width(model.config)
    blocks = range(config.num_hidden_layers)
    heads, kv_heads = (
        [0 if (block, "attention") in missing else count for block in blocks]
        for count in (config.num_attention_heads, config.num_key_value_heads)
    )
    heads[0], kv_heads[0] = heads[0] or 1, kv_heads[0] or 1
    inner = config.intermediate_size
    channels = [ZERO_CHANNELS if (block, "mlp") in missing else inner for block in blocks]
    writer.add_context_length(context_of(config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(len(blocks))
    writer.add_feed_forward_length(channels)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Any, source: str | Path, size: int) -> None:
    content = vocabulary(tokenizer, size)
    for key, value in content.items():
        getattr(writer, f"add_{key}")(value)
    merges = content["tokenizer_model"] == "gpt2"
    special = gguf.SpecialVocab(source, load_merges=merges, n_vocab=size)
    # The files may name tokens that the tokenizer does not add.
    ids = tokenizer("a").input_ids
    special.add_special_token["bos"] = ids[0] == tokenizer.bos_token_id
    special.add_special_token["eos"] = ids[-1] == tokenizer.eos_token_id
    special.add_to_gguf(writer, quiet=True)
