"""Tiny models with tokenizers that llama.cpp knows."""

import importlib.util
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from models import BLOCKS, tiny
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from torch import nn
from transformers import PreTrainedTokenizerFast

import trimllm
from trimllm.exporting.formats import VLLM, installed
from trimllm.exporting.proof import TEXTS
from trimllm.sublayers import Unit

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


def tiny_model(family: str, dropped: Iterable[Unit] = (), **changed: Any) -> nn.Module:
    """A tiny model for the tokenizers above, without the units; no window cuts its texts short."""
    changed = {"vocab_size": 340, "max_position_embeddings": 256, **changed}
    if family != "llama":
        changed.setdefault("sliding_window", None)
    if family == "qwen2":
        changed.setdefault("use_sliding_window", False)
        changed.setdefault("layer_types", ["full_attention"] * BLOCKS)
    return tiny(family, dropped=dropped, **changed)


def saved(model: nn.Module, folder: Path, tokenizer: Any = None) -> Path:
    """A checkpoint of it."""
    return trimllm.save(model, tokenizer or byte_tokenizer(), folder)
