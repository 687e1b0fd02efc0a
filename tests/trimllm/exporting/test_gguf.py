"""Stock llama.cpp computes what transformers computes; a broken file is refused.

llama.cpp answers in its worker, as in an export; transformers in this process, to save time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from exports import (
    DROPPED,
    byte_tokenizer,
    needs_llama_cpp,
    piece_tokenizer,
    saved,
    tiny_model,
)
from gguf import GGMLQuantizationType as Type
from models import CONFIGS

from trimllm.base.errors import UserError
from trimllm.checkpoint import load_tokenizer
from trimllm.exporting import gguf_file, proof
from trimllm.exporting.gguf_file import Entry
from trimllm.exporting.workers.transformers_worker import answer, quantize_

pytestmark = needs_llama_cpp
LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}
ROWS = np.random.default_rng(0).standard_normal((6, 512), dtype=np.float32)


def verified(
    model: torch.nn.Module, folder: Path, kind: str = "f32", tokenizer: Any = None
) -> dict[str, Any]:
    """Proof of a model's file. Raises `UserError` where there is none."""
    path = saved(model, folder / "checkpoint", tokenizer)
    tokenizer, file = load_tokenizer(path), folder / "model.gguf"
    gguf_file.write(model, tokenizer, path, file, kind, "tiny")
    longest = min(100, gguf_file.context_of(model.config))
    question = proof.make_question(tokenizer, proof.TEXTS[:3], longest)
    answers = [proof.ask("llama_cpp", file, question), answer(model, tokenizer, question)]
    if kind in proof.GROWTH:
        quantize_(model, kind)
        answers.append(answer(model, tokenizer, question))
    return proof.judge(kind, answers, question["texts"], range(4), (5.0, 5.0))


@pytest.mark.parametrize(
    "family, dropped, changed",
    [
        *(("llama", name, {}) for name in DROPPED),
        ("mistral", "unpaired", {}),
        ("llama", "unpaired", {"attention_bias": True, "mlp_bias": True}),
        ("llama", "unpaired", {"tie_word_embeddings": False, "head_dim": 16}),
        ("mistral", "unpaired", {"sliding_window": 24}),
        ("llama", "unpaired", {"rope_parameters": LLAMA_3}),
        ("llama", "unpaired", {"rope_parameters": LINEAR}),
    ],
)
def test_llama_cpp_computes_what_transformers_does(
    tmp_path: Path, family: str, dropped: str, changed: dict[str, Any]
) -> None:
    """Every pattern of missing sublayers, and variants of the families."""
    found = verified(tiny_model(family, DROPPED[dropped], **changed), tmp_path)
    assert found["largest_difference"] < 1e-3
    assert found["greedy_differs_at"] is None and found["places"] == 18


def test_pieces_are_tokenized_as_by_sentencepiece(tmp_path: Path) -> None:
    model = tiny_model("llama", vocab_size=400)
    assert verified(model, tmp_path, tokenizer=piece_tokenizer())["largest_difference"] < 1e-3


@pytest.mark.parametrize("kind", ["f16", "bf16", *proof.GROWTH])
def test_a_file_of_every_type_loses_what_its_rounding_loses(tmp_path: Path, kind: str) -> None:
    loss = verified(tiny_model("qwen2", DROPPED["unpaired"], mlp_width=256), tmp_path, kind)["loss"]
    if kind in proof.GROWTH:
        assert (
            abs(loss["engine"] - loss["rounded"]) < 0.05 and loss["rounded"] != loss["checkpoint"]
        )


def damaged(factor: float, packed=gguf_file.packed):
    def function(entry: Entry, *rest: Any) -> np.ndarray:
        return packed(entry, *rest) * (factor if entry.name == "output_norm.weight" else 1)

    return "packed", function


def swapped(tokenizer: Any, size: int, vocabulary=gguf_file.vocabulary) -> dict[str, Any]:
    content = vocabulary(tokenizer, size)
    tokens = content["token_list"]
    first, second = tokens.index("e"), tokens.index("a")
    tokens[first], tokens[second] = tokens[second], tokens[first]
    return content


@pytest.mark.parametrize(
    "damage, kind, why",
    [
        (damaged(1.5), "f32", "log-probabilities differ"),
        (damaged(1.5), "q8_0", "its loss in the engine"),
        (damaged(float("nan")), "f32", "nats from"),
        (damaged(float("nan")), "q8_0", "its loss in the engine is nan"),
        (("vocabulary", swapped), "q8_0", "into other tokens"),
    ],
)
def test_a_broken_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage, kind: str, why: str
) -> None:
    monkeypatch.setattr(gguf_file, *damage)
    with pytest.raises(UserError, match=f"as {kind} is broken and was not kept: .*{why}"):
        verified(tiny_model("llama", DROPPED["unpaired"]), tmp_path, kind)


@pytest.mark.parametrize("kind, bits", [(Type.Q6_K, 6), (Type.Q4_K, 4)])
def test_quantized_rows_are_near_for_their_bits(kind: Type, bits: int) -> None:
    assert np.array_equal(gguf_file.quantize(ROWS, Type.Q5_0), gguf.quantize(ROWS, Type.Q5_0))
    rows = np.concatenate([ROWS, np.zeros_like(ROWS[:1])])
    again = gguf.dequantize(gguf_file.quantize(rows, kind), kind)
    # Scales of 16 or 32 numbers have 6 bits or more themselves.
    step = np.ptp(rows.reshape(-1, 32), axis=1, keepdims=True) / (2**bits - 1)
    assert (np.abs(again - rows).reshape(-1, 32) <= step * 1.1).all() and not again[-1].any()


@pytest.mark.parametrize(
    "name, shape, kind, stored",
    [
        ("blk.0.ffn_down.weight", (64, 512), "q4_k", "Q4_K"),
        ("blk.0.ffn_up.weight", (64, 576), "q4_k", "Q5_0"),
        ("blk.0.ffn_up.weight", (64, 72), "q4_k", "F16"),
        ("token_embd.weight", (64, 512), "q4_k", "Q6_K"),
        ("token_embd.weight", (64, 576), "q4_0", "Q8_0"),
        ("blk.0.attn_norm.weight", (512,), "q4_k", "F32"),
    ],
)
def test_narrow_rows_and_embeddings_get_the_types_of_llama_cpp(name, shape, kind, stored) -> None:
    assert gguf_file.type_of(Entry(name, shape), kind).name == stored


@pytest.mark.parametrize(
    "family, changed, why",
    [
        ("opt", {}, "runs no trimmed opt .*; export it as padded"),
        ("llama", {"hidden_act": "gelu"}, "computes silu, this model gelu"),
        ("llama", {"rope_parameters": LINEAR | {"rope_type": "yarn"}}, "not by yarn"),
    ],
)
def test_what_llama_cpp_cannot_compute_is_refused(family: str, changed, why: str) -> None:
    config = CONFIGS[family]()
    config.update(changed)
    with pytest.raises(UserError, match=why):
        gguf_file.check(config, "model")


def test_the_header_of_a_file(tmp_path: Path) -> None:
    """A window is the context; licence, chat template and special tokens are there."""
    model, path = tiny_model("mistral", sliding_window=64), tmp_path / "model.gguf"
    source = saved(model, tmp_path / "checkpoint")
    gguf_file.write(model, byte_tokenizer(), source, path, "f16", "tiny", "mit")
    contents = {key: field.contents() for key, field in gguf.GGUFReader(path).fields.items()}
    assert contents["deci.context_length"] == 64 and contents["general.license"] == "mit"
    assert "content" in contents["tokenizer.chat_template"]
    assert contents["tokenizer.ggml.eos_token_id"] == 2
