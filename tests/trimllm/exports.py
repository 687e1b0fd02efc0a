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
from trimllm.exporting.formats import VLLM, installed
from trimllm.exporting.proof import TEXTS
from trimllm.sublayers import Unit, drop

BLOCKS = 5
FIRST, LAST = ([Unit(block, "attention"), Unit(block, "mlp")] for block in (0, BLOCKS - 1))
DROPPED = {
    "nothing": [],
    "first attention": FIRST[:1],
    "first mlp": FIRST[1:],
    "first block": FIRST,
    "last attention": LAST[:1],
    "last mlp": LAST[1:],
    "last block": LAST,
    "unpaired": [Unit(0, "mlp"), Unit(1, "mlp"), Unit(2, "attention"), Unit(3, "attention")],
    "all attention": [Unit(block, "attention") for block in range(BLOCKS)],
    "all mlp": [Unit(block, "mlp") for block in range(BLOCKS)],
}
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
needs_llama_cpp = pytest.mark.skipif(
    importlib.util.find_spec("xllamacpp") is None, reason="llama.cpp (xllamacpp) is not installed"
)
needs_vllm = pytest.mark.skipif(
    not installed(VLLM) and "TRIMLLM_NEEDS_VLLM" not in os.environ,
    reason="vLLM is not installed (make vllm-env)",
)


def byte_tokenizer(cut: Any = None) -> PreTrainedTokenizerFast:
    """BPE of bytes as GPT-2's, learned from the exports' own texts."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = cut or pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"special_tokens": SPECIAL, "initial_alphabet": alphabet, "show_progress": False}
    tokenizer.train_from_iterator(TEXTS, BpeTrainer(vocab_size=320, **options))
    return _wrapped(tokenizer)


def piece_tokenizer() -> PreTrainedTokenizerFast:
    """BPE of characters with bytes for what is left, as SentencePiece's in LLaMA-2."""
    learned = Tokenizer(BPE())
    spaces = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    learned.normalizer = normalizers.Sequence(spaces)
    trainer = BpeTrainer(vocab_size=80, special_tokens=SPECIAL, show_progress=False)
    learned.train_from_iterator([TEXTS[0]], trainer)
    words = learned.get_vocab()
    words |= {f"<0x{byte:02X}>": len(words) + byte for byte in range(256)}
    merges = [tuple(pair) for pair in json.loads(learned.to_str())["model"]["merges"]]
    options = {"unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True}
    tokenizer = Tokenizer(BPE(words, merges, **options))
    tokenizer.normalizer = learned.normalizer
    tokenizer.add_special_tokens([AddedToken(one, special=True) for one in SPECIAL])
    return _wrapped(tokenizer)


def _wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    names = dict(zip(("pad_token", "bos_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
    wrapped.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return wrapped


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
