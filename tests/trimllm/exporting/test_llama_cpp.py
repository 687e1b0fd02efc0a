"""Stock llama.cpp computes what transformers computes, for every pattern of missing units.

A worker of its own answers, as in an export; transformers answers in this process, to save time.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from exports import DROPPED, FAMILIES, byte_tokenizer, needs_llama_cpp, piece_tokenizer, saved
from exports import tiny_model as model_of

from trimllm.checkpoint import load_tokenizer
from trimllm.exporting import evidence, gguf_file, reference
from trimllm.exporting.ask import Asker
from trimllm.exporting.layers import Layers

pytestmark = needs_llama_cpp


def answers(
    model, folder: Path, kind: str = "f32", tokenizer=None, longest: int = 100
) -> tuple[evidence.Answer, evidence.Answer, evidence.Question]:
    """llama.cpp's answer, transformers', and the question."""
    layers = Layers(model.config, saved(model, folder / "checkpoint", tokenizer))
    tokenizer = load_tokenizer(layers.path)
    file = folder / "model.gguf"
    gguf_file.write(layers, tokenizer, file, kind, name="tiny", about={})
    question = evidence.question(tokenizer, evidence.TEXTS[:3], min(longest, layers.context))
    found = Asker(question, folder).llama_cpp(file)
    return found, reference.answer(model, tokenizer, question), question


def compared(model, folder: Path, **options) -> dict[str, object]:
    engine, ours, question = answers(model, folder, **options)
    return evidence.judge("f32", engine, ours, texts=question.texts, ends=[0, 1, 2, 3])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropped", DROPPED.values(), ids=DROPPED)
def test_every_pattern_of_missing_units(tmp_path: Path, family: str, dropped) -> None:
    found = compared(model_of(family, dropped), tmp_path)
    assert found["largest_difference"] < 1e-3
    assert found["greedy_differs_at"] is None and found["places"] == 18


@pytest.mark.parametrize(
    "family, changed",
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("llama", {"tie_word_embeddings": False}),
        ("llama", {"head_dim": 16}),
        ("mistral", {"sliding_window": 24}),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0,
                    "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 32,
                }
            },
        ),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}),
    ],
    ids=["biases", "a head of its own", "wide heads", "window", "llama3", "linear"],
)  # fmt: skip
def test_variants_of_families(tmp_path: Path, family: str, changed) -> None:
    model = model_of(family, DROPPED["unpaired"], **changed)
    assert compared(model, tmp_path)["largest_difference"] < 1e-3


def test_pieces_are_cut_as_sentencepiece_does(tmp_path: Path) -> None:
    model = model_of("llama", vocab_size=400)
    assert compared(model, tmp_path, tokenizer=piece_tokenizer())["largest_difference"] < 1e-3


@pytest.mark.parametrize("kind", ["q8_0", "q6_k", "q4_k", "q4_0"])
def test_a_quantized_file_loses_what_its_rounding_loses(tmp_path: Path, kind: str) -> None:
    model = model_of("qwen2", DROPPED["unpaired"], mlp_width=64)
    engine, ours, question = answers(model, tmp_path, kind)
    layers = Layers(model.config, tmp_path / "checkpoint")
    tokenizer = byte_tokenizer()
    rounded = reference.answer(reference.round_(model, layers, kind), tokenizer, question)
    found = evidence.judge(
        kind, engine, ours, texts=question.texts, ends=[2], rounded=rounded, untrimmed=(5.0, 5.0)
    )
    assert abs(found["loss"]["engine"] - found["loss"]["rounded"]) < 0.05
    assert rounded.loss != ours.loss
