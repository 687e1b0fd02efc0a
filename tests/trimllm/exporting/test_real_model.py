"""SmolLM2-135M without five of its units in llama.cpp: proof, size, greedy text."""

from __future__ import annotations

from pathlib import Path

import pytest
from exports import needs_llama_cpp
from wheels import needs_smollm2

import trimllm
from trimllm.base import files
from trimllm.exporting.evidence import GROWTH, SHARE
from trimllm.sublayers import Unit

pytestmark = [pytest.mark.slow, needs_smollm2, needs_llama_cpp]
# A block without attention, one without MLP, one without both, and the last MLP.
GONE = [Unit(block, "attention") for block in (3, 17)] + [Unit(b, "mlp") for b in (5, 17, 29)]


@pytest.fixture(scope="module")
def trimmed(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, tokenizer = trimllm.load(smollm2, verify=False)
    folder = tmp_path_factory.mktemp("real") / "trimmed"
    return trimllm.save(trimllm.drop(model, GONE), tokenizer, folder, dtype="bfloat16")


@pytest.mark.parametrize("kind", ["f32", "q8_0"])
def test_a_real_model_is_proven_and_as_large_as_was_told(trimmed: Path, kind: str) -> None:
    made = trimllm.export(trimmed, f"gguf_{kind}")
    found = files.read_json(made / "export.json")
    size, expected = found["bytes"]["file"], found["bytes"]["expected"]
    assert size > 100e6 and abs(size / expected - 1) < 0.02
    proof, loss = found["proof"], found["proof"]["loss"]
    assert proof["greedy_tokens"] == 64
    if kind == "f32":
        assert proof["largest_difference"] < 0.02 and proof["greedy_differs_at"] is None
        assert abs(loss["engine"] - loss["checkpoint"]) < 0.02
    else:  # llama.cpp then rounds what goes into a product, too
        assert abs(loss["engine"] - loss["rounded"]) <= GROWTH[kind] + SHARE * loss["rounded"]
