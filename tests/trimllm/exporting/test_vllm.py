"""Stock vLLM computes what transformers computes, by the modeling file beside the weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from exports import DROPPED, needs_vllm, saved, tiny_model
from models import tiny

from trimllm.checkpoint import load_tokenizer
from trimllm.exporting import proof
from trimllm.exporting.workers.transformers_worker import answer
from trimllm.sublayers import drop


@needs_vllm
@pytest.mark.long
@pytest.mark.parametrize(
    "family, dropped",
    [
        ("llama", "unpaired"),
        ("llama", "first block"),
        ("llama", "all attention"),
        ("mistral", "last mlp"),
        ("qwen2", "first attention"),
        ("qwen3", "unpaired"),
        ("phi3", "last mlp"),
        ("opt", "unpaired"),
    ],
)
def test_vllm_computes_what_transformers_does(tmp_path: Path, family: str, dropped: str) -> None:
    if family == "opt":
        model = tiny("opt", vocab_size=340, max_position_embeddings=256, hidden_size=128)
        model = drop(model, DROPPED[dropped])
    else:  # vLLM's attention on CPUs needs heads of this width
        model = tiny_model(family, DROPPED[dropped], head_dim=32)
    path = saved(model, tmp_path / "checkpoint")
    tokenizer = load_tokenizer(path)
    question = proof.make_question(tokenizer, proof.TEXTS[:3], 100)
    engine = proof.ask("vllm", path, question)
    answers = [engine, answer(model, tokenizer, question)]
    found = proof.judge("vllm", answers, question["texts"], [])
    assert found["largest_difference"] < 1e-4 and found["places"] == 18
    assert len(engine["greedy"]) == 64 and engine["engine"]["name"] == "vLLM"
