"""Jobs with adapters: merged, and stored as any other checkpoint. See test_oracle.py, too."""

from pathlib import Path
from typing import Any

import pytest
import torch
from models import (
    job_folder,
    logits_of,
    random_documents,
    some_ids,
    tiny,
    train_job,
    word_tokenizer,
)
from torch import nn

from trimllm import checkpoint
from trimllm.base import files
from trimllm.score import score
from trimllm.train import loop, make_checkpoint
from trimllm.train.model import adapt, adapters

LORA = {"rank": 4, "alpha": 12}
ARGUMENTS = {"epochs": 2, "patience": 2, "lora": LORA}
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def test_what_is_merged_computes_what_the_adapters_did():
    model, docs = tiny("opt"), random_documents(3)
    before = logits_of(model, some_ids())
    kinds = [type(module) for module in model.modules()]
    adapted = adapt(model, 5, **LORA)
    assert torch.equal(logits_of(model, some_ids()), before)
    with torch.no_grad():
        for parameter in adapters(model):
            parameter.add_(torch.randn(parameter.shape), alpha=0.05)
    with_adapters = logits_of(model, some_ids())
    assert float((with_adapters - before).abs().max()) > 1e-2
    # Scoring runs them, too, outside of transformers' own forward pass.
    scores = [one.log_likelihoods for one in score(model, word_tokenizer(), docs)]
    adapted.merge_and_unload()
    assert torch.allclose(logits_of(model, some_ids()), with_adapters, atol=1e-5)
    for one, other in zip(scores, score(model, word_tokenizer(), docs), strict=True):
        assert one == pytest.approx(other.log_likelihoods, abs=1e-4)
    assert [type(module) for module in model.modules()] == kinds  # nothing is left of them


@pytest.fixture
def base(tmp_path):
    given = {"train": random_documents(12), "held_back": random_documents(8, 9)}
    return job_folder(tmp_path, tiny("llama"), dtype="bfloat16", **given)


def made(folder: Path, name: str, arguments: Any = ARGUMENTS, **changed: Any) -> str:
    """Hash of the weights that a job makes of a model that is stored in bfloat16."""
    settings = {"learning_rate": 5e-3, "batch_size": 4, "schedule": "epoch", "dtype": "bfloat16"}
    job = train_job(folder, settings=settings, arguments=arguments, **changed)
    make_checkpoint(job, folder / name, record_name="training", provenance=dict)
    return files.sha256_of(folder / name / "model.safetensors")


def test_a_job_leaves_an_ordinary_checkpoint(base):
    """The same bytes wherever weights wait, whatever is computed twice."""
    first = made(base, "full_ft")
    assert made(base, "streamed", weights_on="disk") == first
    assert made(base, "twice", gradient_checkpointing=True) == first
    record = files.read_json(base / "full_ft/training.json")
    model, before = (
        checkpoint.load(base / name, dtype="auto")[0].state_dict() for name in ("full_ft", "base")
    )
    assert model.keys() == before.keys()
    sizes = 0
    for name, value in before.items():
        matrix = name.split(".")[-2] in MATRICES
        assert value.equal(model[name]) != matrix, name
        assert model[name].dtype == torch.bfloat16
        sizes += sum(value.shape) if matrix else 0
    assert record["lora"] == LORA and record["trainable_blocks"] is None
    assert record["passes"][0]["trainable_parameters"] == LORA["rank"] * sizes
    assert record["parameters"] == sum(p.numel() for p in tiny("llama").parameters())


def test_frozen_matrices_lie_in_16_bits_while_others_train(base, monkeypatch):
    """Between the passes of a chain's blocks, and of adapters: what is stored is the same."""
    seen: list[dict[str, torch.dtype]] = []
    scored = loop.held_back_score

    def looked(model: nn.Module, *rest: Any) -> Any:
        seen.append({name: p.dtype for name, p in model.named_parameters()})
        return scored(model, *rest)

    monkeypatch.setattr(loop, "held_back_score", looked)
    made(base, "lora")
    blocks = {"epochs": 2, "patience": 2, "trainable": [1]}
    one, other = (made(base, place, blocks, weights_on=place) for place in ("device", "disk"))
    assert one == other and len(seen) == 6
    for number, types in enumerate(seen):
        for name, kind in types.items():
            frozen = name.split(".")[-2] in MATRICES and ".layers.1." not in name
            short = frozen if number > 1 else ".base_layer." in name
            assert (kind == torch.bfloat16) == short, name
