"""Adapters against a plain loop of peft and torch, merged, and stored as any other checkpoint."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from models import logits_of, random_documents, some_ids, tiny, word_tokenizer
from peft import LoraConfig, LoraModel, get_peft_model
from torch import nn

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.data.document import write_documents
from trimllm.score import score
from trimllm.train import HeldBackScore, TrainJob, TrainSettings, fine_tune, make_checkpoint
from trimllm.train.batching import batches_of, documents_of_epoch, examples_of
from trimllm.train.model import adapt, adapters, unit_linears

documents = partial(random_documents, longest=7)
LORA, PASSES, BATCH, PEAK = {"rank": 4, "alpha": 12}, 2, 3, 5e-3
SETTINGS = TrainSettings(
    learning_rate=PEAK, batch_size=BATCH, clip=0.9, dtype="float32", seed=3, schedule="epoch"
)
# As in test_oracle.py: a step of AdamW moves a weight by up to the rate, rounding by far less.
CLOSE = 0.02
MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def tuned(**options: Any) -> tuple[nn.Module, dict[str, Any]]:
    model = tiny("llama")
    given = {"train": documents(11), "settings": SETTINGS, "epochs": PASSES, "lora": LORA}
    return model, fine_tune(model, word_tokenizer(), **given | options)


def plain() -> tuple[dict[str, torch.Tensor], nn.Module]:
    """The same by peft's own door and a loop that shares nothing with ours but the order of
    documents: every document is a row of its own, all its logits are computed.

    Returns the adapters and the merged model.
    """
    config = LoraConfig(r=4, lora_alpha=12, target_modules=list(MATRICES))
    base, tokenizer = tiny("llama"), word_tokenizer()
    torch.manual_seed(SETTINGS.seed)
    model = get_peft_model(base, config)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    for epoch in range(PASSES):
        optimizer = torch.optim.AdamW(trained.values(), weight_decay=0.0)
        order = documents_of_epoch(documents(11), epoch, None, SETTINGS.seed)
        batches = batches_of(examples_of(tokenizer, order), BATCH, SETTINGS.seed, epoch)
        for number, batch in enumerate(batches):
            optimizer.param_groups[0]["lr"] = PEAK * (1 - number / len(batches))
            total = torch.zeros(())
            for example in batch:
                ids = torch.tensor([example.prompt + example.answer])
                log = model(input_ids=ids).logits[0, len(example.prompt) - 1 : -1].log_softmax(-1)
                total = total - log[range(len(example.answer)), list(example.answer)].sum()
            (total / sum(len(example.answer) for example in batch)).backward()
            nn.utils.clip_grad_norm_(trained.values(), SETTINGS.clip)
            optimizer.step()
            optimizer.zero_grad()
    found = {name.partition("model.layers")[2]: p.detach().clone() for name, p in trained.items()}
    return found, model.merge_and_unload()


def apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference but for the thousandth that differs most, in peak rates."""
    differences = (found - expected).detach().abs().flatten().sort().values
    return float(differences[int(0.995 * (len(differences) - 1))]) / PEAK


def test_adapters_are_those_of_the_plain_loop_and_matrices_are_frozen_until_they_are_merged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unmerged: dict[str, torch.Tensor] = {}
    merged = LoraModel.merge_and_unload

    def kept(self: LoraModel) -> nn.Module:
        unmerged.update({name: p.detach().clone() for name, p in self.model.named_parameters()})
        return merged(self)

    monkeypatch.setattr(LoraModel, "merge_and_unload", kept)
    model, record = tuned()
    before = tiny("llama").state_dict()
    for name, value in unmerged.items():
        assert ".lora_" in name or value.equal(before[name.replace(".base_layer", "")]), name
    adapted = {
        name.partition("model.layers")[2].replace(".lora.", ".default."): value
        for name, value in unmerged.items()
        if ".lora_" in name
    }
    monkeypatch.undo()
    expected, whole = plain()
    assert adapted.keys() == expected.keys()
    assert len(expected) == 2 * len(MATRICES) * model.config.num_hidden_layers
    for name, value in expected.items():
        assert apart(adapted[name], value) < CLOSE, name
        assert ".lora_A" in name or apart(torch.zeros_like(value), value) > 1, name
    sizes = 0
    for name, value in whole.state_dict().items():
        matrix, found = name.split(".")[-2] in MATRICES, model.state_dict()[name]
        assert (apart(before[name], value) > 0.5) == matrix, name
        assert apart(found, value) < CLOSE and found.equal(before[name]) != matrix, name
        sizes += sum(value.shape) if matrix else 0
    assert record["passes"][0]["trainable_parameters"] == LORA["rank"] * sizes
    assert record["parameters"] == sum(p.numel() for p in tiny("llama").parameters())
    assert record["lora"] == LORA and record["trainable_blocks"] is None


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_what_is_merged_says_what_the_adapters_said(family: str) -> None:
    model = tiny(family)
    before, linears = logits_of(model, some_ids()), len(unit_linears(model))
    names, kinds = list(model.state_dict()), [type(module) for module in model.modules()]
    adapted = adapt(model, 5, **LORA)
    assert torch.equal(logits_of(model, some_ids()), before)
    assert len(adapters(model)) == 2 * linears
    with torch.no_grad():
        for parameter in adapters(model):
            parameter.add_(torch.randn(parameter.shape), alpha=0.05)
    said = logits_of(model, some_ids())
    assert float((said - before).abs().max()) > 1e-2
    # Scoring runs them, too, outside of transformers' own forward pass.
    likely = [one.log_likelihoods for one in score(model, word_tokenizer(), documents(3))]
    adapted.merge_and_unload()
    assert torch.allclose(logits_of(model, some_ids()), said, atol=1e-5)
    again = [one.log_likelihoods for one in score(model, word_tokenizer(), documents(3))]
    for one, other in zip(likely, again, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    # ... and nothing is left of them.
    assert list(model.state_dict()) == names and [type(m) for m in model.modules()] == kinds


@pytest.mark.parametrize(
    "wrong", [{"trainable": [1]}, {"settings": replace(SETTINGS, train_embeddings=True)}]
)
def test_what_lora_does_not_go_with_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="LoRA trains adapters in all blocks, and no embeddings"):
        tuned(**wrong)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "base", dtype="bfloat16")
    write_documents(tmp_path / "train.jsonl", documents(12))
    write_documents(tmp_path / "held_back.jsonl", documents(8, 9))
    return tmp_path


def made(folder: Path, name: str, dtype: str = "bfloat16", **changed: Any) -> str:
    """Hash of the weights that a job makes of a model that is stored in bfloat16."""
    settings = {"learning_rate": PEAK, "batch_size": 4, "schedule": "epoch", "dtype": dtype}
    given = {
        "checkpoint": str(folder / "base"),
        "train": str(folder / "train.jsonl"),
        "held_back": str(folder / "held_back.jsonl"),
        "settings": settings,
        "arguments": {"epochs": 2, "patience": 2, "lora": LORA},
    }
    job = TrainJob(**given | changed)
    make_checkpoint(job, folder / name, record_name="training", provenance=dict)
    return files.sha256_of(folder / name / "model.safetensors")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_job_leaves_an_ordinary_checkpoint(base: Path, dtype: str) -> None:
    """The same bytes wherever weights wait, whatever is computed twice."""
    first = made(base, "full_ft", dtype)
    assert made(base, "streamed", dtype, weights_on="disk") == first
    assert made(base, "twice", dtype, gradient_checkpointing=True) == first
    assert files.read_json(base / "full_ft/training.json")["lora"] == LORA
    model, before = (
        checkpoint.load(base / name, dtype="auto")[0].state_dict() for name in ("full_ft", "base")
    )
    assert model.keys() == before.keys()
    for name, value in before.items():
        assert value.equal(model[name]) != (name.split(".")[-2] in MATRICES), name
        assert model[name].dtype == torch.bfloat16


def test_frozen_matrices_lie_in_16_bits_while_others_train(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the passes of a chain's blocks, and of adapters: what is stored is the same."""
    seen: list[dict[str, torch.dtype]] = []
    of = HeldBackScore.of.__func__

    def looked(cls: Any, model: nn.Module, *rest: Any) -> HeldBackScore:
        seen.append({name: p.dtype for name, p in model.named_parameters()})
        return of(cls, model, *rest)

    monkeypatch.setattr(HeldBackScore, "of", classmethod(looked))
    made(base, "lora")
    arguments = {"epochs": 2, "patience": 2, "trainable": [1]}
    one, other = (
        made(base, place, arguments=arguments, weights_on=place) for place in ("device", "disk")
    )
    assert one == other and len(seen) == 6
    for number, types in enumerate(seen):
        for name, kind in types.items():
            frozen = name.split(".")[-2] in MATRICES and ".layers.1." not in name
            short = frozen if number > 1 else ".base_layer." in name
            assert (kind == torch.bfloat16) == short, name
