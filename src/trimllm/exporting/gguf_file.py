"""A model as one GGUF file for stock llama.cpp, whose architecture `deci` (Llama-Nemotron) has
blocks without attention: no head, no tensor. Its other limits were determined by trial:

- A block with `feed_forward_length` 0 loses its attention's output too: a block without MLP gets
  one of 32 channels, all zero.
- The head width is read from block 0: if its attention was dropped it gets one head, all zero.
- Sliding windows are not read: the longest context is the window.

Of tokenizers it knows BPE of bytes (GPT-2, SmolLM, Qwen, LLaMA-3) and BPE of characters with a
fallback to bytes (SentencePiece: LLaMA-2, Mistral). It splits text into words by code of its own,
one name for each way.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type
from gguf import TokenType
from tokenizers.pre_tokenizers import Metaspace
from torch import Tensor, nn
from tqdm.auto import tqdm

from trimllm.base.errors import UserError
from trimllm.base.names import GGUF_FAMILIES
from trimllm.checkpoint.stock import missing_units
from trimllm.sublayers import family_of
from trimllm.sublayers.families import window_of
from trimllm.sublayers.modeling_trimllm import decoder_of

ZERO_CHANNELS = 32  # of the MLP in place of a missing one: a block of quantized numbers
ROPE_TYPES = ("default", "linear", "llama3")  # one factor for each frequency
# Words into which a pre-tokenizer splits the probe, in bytes -> llama.cpp's name of this way. The
# proof of an export then compares the tokens of whole texts.
PROBE = "It'S  1234 x!\n"
SPLITS = {
    "It ' S Ġ Ġ1234 Ġx ! Ċ": "gpt-2",
    "It ' S ĠĠ 1 2 3 4 Ġx ! Ċ": "smollm",
    "It 'S Ġ Ġ 1 2 3 4 Ġx !Ċ": "qwen2",
    "It 'S Ġ Ġ 123 4 Ġx !Ċ": "llama-bpe",
}


def check(config: Any, path: str | Path) -> None:
    """Raise `UserError` if `deci` does not compute what a model with this configuration does."""
    family = family_of(config.model_type)
    if family not in GGUF_FAMILIES:
        why = f"runs no trimmed {family} (it runs {', '.join(GGUF_FAMILIES)})"
    elif config.hidden_act != "silu":
        why = f"computes silu, this model {config.hidden_act}"
    elif (rope := config.rope_parameters["rope_type"]) not in ROPE_TYPES:
        why = f"supports positions scaled by {', '.join(ROPE_TYPES)}, not by {rope}"
    else:
        return
    raise UserError(f"{path}: llama.cpp {why}; export it as padded")


def context_of(config: Any) -> int:
    """Longest context in llama.cpp, tokens."""
    return min(config.max_position_embeddings, window_of(config) or config.max_position_embeddings)


def _head_width(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _names(model: nn.Module) -> dict[str, str]:
    """Parameters of a model -> their names in the file. A tied head is not among them."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.DECI, model.config.num_hidden_layers)
    sources = (source for source, _ in model.named_parameters())
    return {one: names.get_name(one, try_suffixes=(".weight", ".bias")) for one in sources}


def tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Name and content of every tensor of a GGUF file; the model may be on the meta device."""
    config, width, names = model.config, _head_width(model.config), _names(model)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for source, parameter in model.named_parameters():
        content = parameter.detach()
        if count := heads.get(source.split(".")[-2]):
            # transformers rotates value i of a head with value i + width / 2, llama.cpp neighbours.
            halves = content.view(count, 2, -1, *content.shape[1:])
            content = halves.transpose(1, 2).reshape(content.shape)
        yield names[source], content
    for block, kind in missing_units(model):
        into, out, inner = ["ffn_gate", "ffn_up"], "ffn_down", ZERO_CHANNELS
        if kind == "attention" and block:
            continue
        if kind == "attention":
            into, out, inner = ["attn_q", "attn_k", "attn_v"], "attn_output", width
        yield f"blk.{block}.{out.split('_')[0]}_norm.weight", torch.zeros(config.hidden_size)
        for name in into:
            yield f"blk.{block}.{name}.weight", torch.zeros(inner, config.hidden_size)
        yield f"blk.{block}.{out}.weight", torch.zeros(config.hidden_size, inner)
    if config.rope_parameters["rope_type"] != "default":  # divisors of the frequencies
        scaled = decoder_of(model).rotary_emb.inv_freq.float()
        powers = torch.arange(0, width, 2, device=scaled.device) / width
        yield "rope_freqs.weight", config.rope_parameters["rope_theta"] ** -powers / scaled


def type_of(name: str, shape: tuple[int, ...], kind: str) -> Type:
    """Type of a tensor in a file of a kind ("f16", "q4_0", ...). Norms and biases are float32;
    embeddings and head of a 4-bit model have 8 bits, rows of incomplete blocks 16."""
    if len(shape) == 1:
        return Type.F32
    stored = Type[kind.upper()]
    if stored == Type.Q4_0 and name.startswith(("token_embd", "output.")):
        stored = Type.Q8_0
    return Type.F16 if shape[-1] % gguf.GGML_QUANT_SIZES[stored][0] else stored


def bytes_of(name: str, shape: tuple[int, ...], kind: str) -> int:
    """Bytes of a tensor in a file of a kind."""
    return math.prod(gguf.quant_shape_to_byte_shape(shape, type_of(name, shape, kind)))


@torch.no_grad()
def quantize_(model: nn.Module, kind: str) -> None:
    """Give a model the weights that its GGUF file of a kind holds, in place."""
    names = _names(model)
    for source, parameter in model.named_parameters():
        stored = type_of(names[source], parameter.shape, kind)
        # Rows are quantized one by one: that those of heads have another order does not matter.
        rows = gguf.dequantize(gguf.quantize(parameter.numpy(), stored), stored)
        parameter.copy_(torch.from_numpy(rows))


def write(
    model: nn.Module, tokenizer: Any, source: Path, file: Path, kind: str, **about: str | None
) -> None:
    """Write a GGUF file of a `kind` in `formats.TYPES`. `source`: checkpoint with the files of the
    tokenizer; `about`: name, license. `UserError` for what llama.cpp does not have."""
    check(model.config, source)
    words = vocabulary(tokenizer, model.config.vocab_size)
    writer = gguf.GGUFWriter(file, "deci")
    for key, value in {**about, **_model_keys(model), **words}.items():
        if value is not None:
            getattr(writer, f"add_{key}")(value)
    merges = words["tokenizer_model"] == "gpt2"
    special = gguf.SpecialVocab(source, load_merges=merges, n_vocab=model.config.vocab_size)
    # The files may name tokens that the tokenizer does not add.
    ids = tokenizer("a").input_ids
    special.add_special_token["bos"] = ids[0] == tokenizer.bos_token_id
    special.add_special_token["eos"] = ids[-1] == tokenizer.eos_token_id
    special.add_to_gguf(writer, quiet=True)
    for tensor, content in tensors(model):
        stored, size = type_of(tensor, content.shape, kind), bytes_of(tensor, content.shape, kind)
        writer.add_tensor_info(tensor, content.shape, np.float32, size, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, content in tqdm(tensors(model), f"writing GGUF in {kind}", mininterval=2):
        stored = type_of(tensor, content.shape, kind)
        writer.write_tensor_data(gguf.quantize(content.float().numpy(), stored))
    writer.close()


def _model_keys(model: nn.Module) -> dict[str, Any]:
    """Values for `GGUFWriter.add_KEY` that describe the model."""
    config, missing, width = model.config, missing_units(model), _head_width(model.config)
    blocks = range(config.num_hidden_layers)

    def by_block(kind: str, whole: int, absent: int) -> list[int]:
        counts = [absent if (block, kind) in missing else whole for block in blocks]
        return [counts[0] or 1, *counts[1:]]

    return {
        "context_length": context_of(config),
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": by_block("mlp", config.intermediate_size, ZERO_CHANNELS),
        "head_count": by_block("attention", config.num_attention_heads, 0),
        "head_count_kv": by_block("attention", config.num_key_value_heads, 0),
        **dict.fromkeys(("key_length", "value_length", "rope_dimension_count"), width),
        "rope_freq_base": config.rope_parameters["rope_theta"],
        "layer_norm_rms_eps": config.rms_norm_eps,
    }


def vocabulary(tokenizer: Any, size: int) -> dict[str, Any]:
    """Values for `GGUFWriter.add_KEY` that describe a tokenizer, for embeddings of `size` rows;
    `gguf.SpecialVocab` adds merges and special tokens. `UserError` for one that llama.cpp lacks."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    model = json.loads(backend.to_str())["model"] if backend is not None else {}
    if model.get("type") != "BPE":
        kind = model.get("type") or type(tokenizer).__name__
        raise UserError(f"llama.cpp has no tokenizer of this kind ({kind}); it has BPE")
    split = _split(backend, model)
    pieces = split == "default"
    known = {number: token for token, number in tokenizer.get_vocab().items()}
    added = tokenizer.added_tokens_decoder

    def token_type(number: int) -> TokenType:
        if number not in known:
            return TokenType.UNUSED
        if number in added:
            return TokenType.CONTROL if added[number].special else TokenType.USER_DEFINED
        byte = pieces and known[number].startswith("<0x") and len(known[number]) == 6
        return TokenType.BYTE if byte else TokenType.NORMAL

    tokens = [known.get(number, f"[PAD{number}]") for number in range(size)]
    values = {
        "tokenizer_model": "llama" if pieces else "gpt2",
        "tokenizer_pre": split,
        "token_list": tokens,
        "token_types": [token_type(number) for number in range(size)],
        "add_space_prefix": tokenizer.tokenize("a")[0].startswith("▁"),
    }
    if pieces:  # the sooner two of them are merged, the higher the score of their union
        merged = ["".join(pair) for pair in model["merges"]]
        rank = {piece: number for number, piece in reversed(list(enumerate(merged)))}
        values["token_scores"] = [-float(rank.get(token, len(merged))) for token in tokens]
    return values


def _split(backend: Any, model: dict[str, Any]) -> str:
    """llama.cpp's name of the way in which a tokenizer splits text; `UserError` for others."""
    splitter = backend.pre_tokenizer
    if model.get("byte_fallback") and isinstance(splitter, Metaspace | None):
        return "default"  # SentencePiece's
    words = [word for word, _ in splitter.pre_tokenize_str(PROBE)] if splitter else [PROBE]
    if name := SPLITS.get(" ".join(words)):
        return name
    raise UserError(
        f"llama.cpp's name of this tokenizer's way to split text ({words}) is not known; add it to "
        "trimllm.exporting.gguf_file"
    )
