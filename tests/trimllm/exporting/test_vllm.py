"""Stock vLLM computes what transformers computes, by the modeling file beside the weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from exports import DROPPED, needs_vllm, saved, tiny_model
from models import tiny
from torch import nn

import trimllm
from trimllm.base import files, workers
from trimllm.base.errors import UserError
from trimllm.checkpoint import load_tokenizer
from trimllm.exporting import proof
from trimllm.exporting.workers.transformers_worker import answer
from trimllm.exporting.writers import expected_bytes
from trimllm.sublayers import drop

# vLLM's attention on CPUs needs heads of this width.
WIDE = {"head_dim": 32}


def model_of(family: str, dropped: str) -> nn.Module:
    if family == "opt":
        model = tiny("opt", vocab_size=340, max_position_embeddings=256, hidden_size=128)
        return drop(model, DROPPED[dropped])
    return tiny_model(family, DROPPED[dropped], **WIDE)


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
    model = model_of(family, dropped)
    path = saved(model, tmp_path / "checkpoint")
    tokenizer = load_tokenizer(path)
    question = proof.make_question(tokenizer, proof.TEXTS[:3], 100)
    reference, (engine,) = answer(model, tokenizer, question), proof.ask("vllm", path, question)
    found = proof.judge("vllm", engine, reference, texts=question["texts"], ends=[])
    assert found["largest_difference"] < 1e-4 and found["places"] == 18
    assert len(engine["greedy"]) == 64 and engine["engine"]["name"] == "vLLM"


@needs_vllm
@pytest.mark.long
def test_an_export_is_the_checkpoint_verified(tmp_path: Path) -> None:
    path = saved(model_of("llama", "unpaired"), tmp_path / "trimmed")
    made = trimllm.export(path, "vllm", texts=proof.TEXTS[:1])
    files.verify_manifest(made)
    assert (made / "model.safetensors").read_bytes() == (path / "model.safetensors").read_bytes()
    record = files.read_json(made / "export.json")
    assert record["proof"]["engine"]["vllm"] and record["proof"]["greedy_differs_at"] is None
    assert record["bytes"]["total"] == expected_bytes(path, "vllm")
    assert "--trust-remote-code" in (made / "README.md").read_text()


def test_a_missing_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(model_of("llama", "unpaired"), tmp_path / "trimmed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers, "__file__", str(tmp_path / "a/b/c/workers.py"))
    monkeypatch.delenv("TRIMLLM_VLLM_PYTHON", raising=False)
    with pytest.raises(UserError, match="vllm is not installed: run `make vllm-env`"):
        trimllm.export(path, "vllm")
    monkeypatch.undo()
    monkeypatch.setenv("TRIMLLM_VLLM_PYTHON", sys.executable)
    with pytest.raises(UserError, match="was not kept: vllm: .*No module named 'vllm'") as error:
        trimllm.export(path, "vllm")
    assert "\n" not in str(error.value)
    assert [one.name for one in tmp_path.iterdir()] == ["trimmed"]
