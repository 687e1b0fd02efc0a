"""Tiny models with tokenizers that llama.cpp knows, and patterns of missing sublayers."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import pytest
from models import tiny
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import nn
from transformers import PreTrainedTokenizerFast

import trimllm
from trimllm.base.errors import UserError
from trimllm.exporting.formats import vllm_python
from trimllm.exporting.proof import TEXTS
from trimllm.sublayers import Unit, drop

BLOCKS = 5
DROPPED = {
    "nothing": [],
    "first attention": [Unit(0, "attention")],
    "first mlp": [Unit(0, "mlp")],
    "first block": [Unit(0, "attention"), Unit(0, "mlp")],
    "last attention": [Unit(BLOCKS - 1, "attention")],
    "last mlp": [Unit(BLOCKS - 1, "mlp")],
    "last block": [Unit(BLOCKS - 1, "attention"), Unit(BLOCKS - 1, "mlp")],
    "a block between": [Unit(2, "attention"), Unit(2, "mlp")],
    "unpaired": [Unit(0, "mlp"), Unit(1, "mlp"), Unit(2, "attention"), Unit(3, "attention")],
    "all attention": [Unit(block, "attention") for block in range(BLOCKS)],
    "all mlp": [Unit(block, "mlp") for block in range(BLOCKS)],
}
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
needs_llama_cpp = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="llama.cpp (xllamacpp) is not installed"
)


def _no_vllm() -> bool:
    try:
        vllm_python()
    except UserError:
        return "TRIMLLM_NEEDS_VLLM" not in os.environ
    return False


needs_vllm = pytest.mark.skipif(_no_vllm(), reason="vLLM is not installed (make vllm-env)")


def byte_tokenizer(cut: Any = None) -> PreTrainedTokenizerFast:
    """BPE of bytes as GPT-2's, learned from the exports' own texts."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = cut or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _wrapped(tokenizer)


def piece_tokenizer() -> PreTrainedTokenizerFast:
    """BPE of characters with bytes for what is left, as SentencePiece's in LLaMA-2."""
    learned = Tokenizer(BPE())
    learned.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    learned.train_from_iterator(
        [TEXTS[0]], BpeTrainer(vocab_size=80, special_tokens=SPECIAL, show_progress=False)
    )
    vocabulary = dict(learned.get_vocab())
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    merges = [tuple(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    tokenizer = Tokenizer(
        BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = learned.normalizer
    tokenizer.add_special_tokens([AddedToken(one, special=True) for one in SPECIAL])
    return _wrapped(tokenizer)


def _wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    found = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )
    found.chat_template = TEMPLATE
    return found


def tiny_model(family: str, dropped: list[Unit] | None = None, **changed: Any) -> nn.Module:
    """A tiny model for the tokenizers above, without the units; no window cuts its texts short."""
    changed = {"vocab_size": 340, "max_position_embeddings": 256, **changed}
    if family != "llama":
        changed.setdefault("sliding_window", None)
    if family == "qwen2":
        changed.setdefault("use_sliding_window", False)
        changed.setdefault("layer_types", ["full_attention"] * BLOCKS)
    model = tiny(family, **changed)
    return drop(model, dropped) if dropped else model


def saved(model: nn.Module, folder: Path, tokenizer: Any = None) -> Path:
    """A checkpoint of it."""
    return trimllm.save(model, tokenizer or byte_tokenizer(), folder)
