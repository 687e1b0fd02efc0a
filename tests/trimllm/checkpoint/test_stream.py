"""A streamed model computes the same bits, and holds the weights of one module at a time."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from models import (
    FAMILIES,
    logits_of,
    random_documents,
    saved_families,
    some_ids,
    tiny,
    word_tokenizer,
)
from torch import nn

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.precision import rounded_copy
from trimllm.scanning import Scan, scan
from trimllm.score import score
from trimllm.sublayers import Unit, drop, units
from trimllm.sublayers.modeling_trimllm import decoder_of

DROPPED = [Unit(0, "attention"), Unit(1, "mlp"), Unit(2, "attention"), Unit(4, "mlp")]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trimmed checkpoint of every family."""
    return saved_families(tmp_path_factory.mktemp("streamed"), DROPPED)


def scanned(model: nn.Module) -> Scan:
    found = scan(model, word_tokenizer(), random_documents(7), row_budget=150)
    found.seconds = 0.0
    return found


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Modules with weights that are streamed."""
    return [module for module in decoder_of(model).layers.modules() if module._parameters]


def bytes_there(modules: list[nn.Module]) -> int:
    weights = (p for module in modules for p in module.parameters(recurse=False))
    return sum(p.nbytes for p in weights if not p.is_meta)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_streamed_scan_has_the_same_bits_and_a_cap_on_its_weights(
    saved: dict, family: str, dtype: torch.dtype
) -> None:
    whole = rounded_copy(checkpoint.load(saved[family])[0], dtype)
    expected, total = scanned(whole), bytes_there(modules_of(whole))
    largest = max(bytes_there([module]) for module in modules_of(whole))
    for place in ("disk", "host", "device"):
        model, _ = checkpoint.load_streamed(saved[family], dtype=dtype, place=place)
        assert units(model) == units(whole)
        modules, there = modules_of(model), []
        for module in modules:

            def watched(*given: Any, run: Any = module._old_forward, m=modules, t=there) -> Any:
                t.append(bytes_there(m))
                return run(*given)

            module._old_forward = watched
        assert scanned(model) == expected
        assert len(there) > len(modules) and max(there) == largest and bytes_there(modules) == 0
        stream = checkpoint.stream_of(model)
        held = sum(tensor.nbytes for tensor in stream.held.values())
        assert held == (0 if place == "disk" else total)
        checkpoint.release(model)
        assert not stream.held


@pytest.mark.parametrize("family", FAMILIES)
def test_sublayers_are_dropped_from_a_streamed_model_and_materializing_makes_it_ordinary(
    saved: dict, family: str, tmp_path: Path
) -> None:
    (whole, _), tokenizer = checkpoint.load(saved[family]), word_tokenizer()
    model, _ = checkpoint.load_streamed(saved[family])
    for one in (model, whole):
        drop(one, [Unit(1, "attention"), Unit(3, "attention")])
    documents = random_documents(5)
    assert score(model, tokenizer, documents) == score(whole, tokenizer, documents)
    made = checkpoint.materialize(model, torch.float32)
    assert checkpoint.stream_of(made) is None
    assert torch.equal(logits_of(made, some_ids()), logits_of(whole, some_ids()))
    head, embeddings = made.get_output_embeddings(), made.get_input_embeddings()
    assert (head.weight is embeddings.weight) == whole.config.tie_word_embeddings
    # an ordinary model stays as it is, and both are saved as the same files
    assert checkpoint.materialize(made, torch.bfloat16).dtype == torch.float32
    for name, one in (("a", made), ("b", whole)):
        checkpoint.save(one, tokenizer, tmp_path / name)
    first, second = (files.verify_manifest(tmp_path / name)["files"] for name in "ab")
    assert first == second


def test_what_cannot_be_streamed_is_one_line(saved: dict, tmp_path: Path) -> None:
    path, bare = saved["llama"], tmp_path / "bare"
    with pytest.raises(UserError, match="cannot wait on 'tape'"):
        checkpoint.load_streamed(path, place="tape")
    with pytest.raises(UserError, match="cannot be copied"):
        copy.deepcopy(checkpoint.load_streamed(path)[0])
    bare.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (bare / name).write_bytes((path / name).read_bytes())
    with pytest.raises(UserError, match="no \\*.safetensors"):
        checkpoint.load_streamed(bare)
    (bare / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-8])
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load_streamed(bare)
    # weights of another model: the trimmed one has fewer blocks
    (bare / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes())
    checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "full")
    (bare / "config.json").write_bytes((tmp_path / "full/config.json").read_bytes())
    model, tokenizer = checkpoint.load_streamed(bare)
    with pytest.raises(UserError, match="the weights lack model.layers"):
        score(model, tokenizer, random_documents(2))
