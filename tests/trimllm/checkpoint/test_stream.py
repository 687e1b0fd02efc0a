"""A streamed model computes the same bits, and holds the weights of one module at a time."""

from typing import Any

import pytest
import torch
from models import FAMILIES, logits_of, random_documents, some_ids, word_tokenizer
from torch import nn

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.precision import rounded_copy
from trimllm.scanning import Scan, scan
from trimllm.score import score
from trimllm.sublayers import Unit, drop, units
from trimllm.sublayers.modeling_trimllm import decoder_of


def scanned(model: nn.Module) -> Scan:
    result = scan(model, word_tokenizer(), random_documents(7), row_budget=150)
    result.seconds = 0.0
    return result


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Modules with weights that are streamed."""
    return [module for module in decoder_of(model).layers.modules() if module._parameters]


def bytes_there(modules: list[nn.Module]) -> int:
    weights = (p for module in modules for p in module.parameters(recurse=False))
    return sum(p.nbytes for p in weights if not p.is_meta)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_streamed_scan_has_the_same_bits_and_the_weights_of_one_module(saved, family):
    whole = rounded_copy(checkpoint.load(saved[family])[0], torch.bfloat16)
    largest = max(bytes_there([module]) for module in modules_of(whole))
    for place in ("disk", "host"):
        model, _ = checkpoint.load_streamed(saved[family], dtype=torch.bfloat16, place=place)
        assert units(model) == units(whole)
        modules, there = modules_of(model), []
        for module in modules:

            def watched(*args: Any, run: Any = module.forward, m=modules, t=there) -> Any:
                t.append(bytes_there(m))
                return run(*args)

            module.forward = watched
        assert scanned(model) == scanned(whole)
        assert len(there) > len(modules) and max(there) == largest and bytes_there(modules) == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_dropping_from_a_streamed_model_and_making_it_an_ordinary_one(saved, family, tmp_path):
    (whole, _), tokenizer = checkpoint.load(saved[family]), word_tokenizer()
    model, _ = checkpoint.load_streamed(saved[family])
    for one in (model, whole):
        drop(one, [Unit(1, "attention"), Unit(3, "attention")])
    documents = random_documents(5)
    assert score(model, tokenizer, documents) == score(whole, tokenizer, documents)
    assert checkpoint.materialize(model, torch.float32) is model
    assert checkpoint.stream_of(model) is None
    assert torch.equal(logits_of(model, some_ids()), logits_of(whole, some_ids()))
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    assert (head.weight is embeddings.weight) == whole.config.tie_word_embeddings
    # an ordinary model stays as it is, and both are saved as the same files
    assert checkpoint.materialize(model, torch.bfloat16).dtype == torch.float32
    for name, one in (("a", model), ("b", whole)):
        checkpoint.save(one, tokenizer, tmp_path / name)
    first, second = (files.verify_manifest(tmp_path / name)["files"] for name in "ab")
    assert first == second
