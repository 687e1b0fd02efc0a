"""Stock llama.cpp computes what transformers computes.

llama.cpp answers in its worker, as in an export; transformers in this process, to save time.
"""

from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from exports import byte_tokenizer, needs_llama_cpp, piece_tokenizer, saved, tiny_model
from models import CONFIGS, DROPPED
from tokenizers import Regex, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

from trimllm.base.errors import UserError
from trimllm.checkpoint import load_tokenizer
from trimllm.exporting import gguf_file, proof
from trimllm.exporting.gguf_file import vocabulary

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}


def verified(
    model: torch.nn.Module, folder: Path, kind: str = "f32", tokenizer: Any = None
) -> dict[str, Any]:
    """Proof of a model's file. Raises `UserError` where there is none."""
    path = saved(model, folder / "checkpoint", tokenizer)
    tokenizer, file = load_tokenizer(path), folder / "model.gguf"
    gguf_file.write(model, tokenizer, path, file, kind, name="tiny")
    longest = min(100, gguf_file.context_of(model.config))
    question = proof.make_question(tokenizer, proof.TEXTS[:3], longest)
    engine = proof.ask("llama_cpp", file, question)
    references = [proof.answer(model, tokenizer, question)]
    if kind in proof.SAME_WEIGHTS:
        gguf_file.quantize_(model, kind)
        references.append(proof.answer(model, tokenizer, question))
    return proof.judge(kind, engine, references, question["texts"])


@needs_llama_cpp
@pytest.mark.parametrize(
    "family, dropped, changed",
    [
        *(("llama", name, {}) for name in DROPPED),
        ("llama", "unpaired", {"attention_bias": True, "mlp_bias": True, "head_dim": 16}),
        ("mistral", "unpaired", {"sliding_window": 24, "tie_word_embeddings": False}),
        ("llama", "unpaired", {"rope_parameters": LINEAR}),
    ],
)
def test_llama_cpp_computes_what_transformers_does(tmp_path, family, dropped, changed):
    """Every pattern of missing sublayers, and variants of the families."""
    result = verified(tiny_model(family, DROPPED[dropped], **changed), tmp_path)
    assert result["largest_difference"] < 1e-3 and result["positions"] == 18
    assert result["greedy_differs_at"] is None and result["greedy_tokens"] > 3


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    whole = ByteLevel(add_prefix_space=False, use_regex=False)
    return Sequence([Split(Regex(pattern), behavior="isolated"), whole])


TOKENIZERS = {
    "default": piece_tokenizer,
    "smollm": lambda: byte_tokenizer(
        Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
    ),
    "qwen2": lambda: byte_tokenizer(split(QWEN2)),
    "llama-bpe": lambda: byte_tokenizer(split(QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"))),
}


@needs_llama_cpp
@pytest.mark.parametrize("name", TOKENIZERS)
def test_llama_cpp_tokenizes_as_transformers_does(tmp_path, name):
    """Including ids without a token, special tokens and single bytes."""
    tokenizer = TOKENIZERS[name]()
    assert vocabulary(tokenizer, 400)["tokenizer_pre"] == name
    model = tiny_model("llama", vocab_size=400)
    assert verified(model, tmp_path, tokenizer=tokenizer)["largest_difference"] < 1e-3


@needs_llama_cpp
@pytest.mark.parametrize("kind", ["f16", "bf16", *proof.SAME_WEIGHTS])
def test_a_file_of_every_type_loses_what_its_rounding_loses(tmp_path, kind):
    # Rows of 72 numbers are no whole blocks of quantized ones.
    loss = verified(tiny_model("qwen2", DROPPED["unpaired"], mlp_width=72), tmp_path, kind)["loss"]
    assert abs(loss["engine"] - loss["same_weights"]) < 0.05
    assert (loss["same_weights"] != loss["checkpoint"]) == (kind in proof.SAME_WEIGHTS)


@pytest.mark.parametrize(
    "family, changed, why",
    [
        ("opt", {}, "runs no trimmed opt .*; export it as padded"),
        ("llama", {"rope_parameters": LINEAR | {"rope_type": "yarn"}}, "not by yarn"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(family, changed, why):
    config = CONFIGS[family]()
    config.update(changed)
    with pytest.raises(UserError, match=why):
        gguf_file.check(config, "model")


def test_the_header_of_a_file(tmp_path):
    """A window is the context; licence, chat template and special tokens are there."""
    model, path = tiny_model("mistral", sliding_window=64), tmp_path / "model.gguf"
    source = saved(model, tmp_path / "checkpoint")
    gguf_file.write(model, byte_tokenizer(), source, path, "f16", name="tiny", license="mit")
    contents = {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}
    assert contents["deci.context_length"] == 64 and contents["general.license"] == "mit"
    assert "content" in contents["tokenizer.chat_template"]
    assert contents["tokenizer.ggml.eos_token_id"] == 2


def test_a_tokenizer_that_llama_cpp_has_no_code_for_is_refused():
    with pytest.raises(UserError, match="is not known; add it to"):
        vocabulary(byte_tokenizer(split(r"\w+")), 340)
