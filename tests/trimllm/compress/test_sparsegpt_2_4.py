"""SparseGPT's loop over columns against the library's: one layer, one column at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from llmcompressor.modifiers.pruning import SparseGPTModifier
from llmcompressor.modifiers.pruning.sparsegpt.sgpt_sparsify import sparsify_weight
from models import tiny, word_tokenizer
from torch import Tensor, nn

import trimllm
from trimllm import checkpoint
from trimllm.base.errors import UserError
from trimllm.checkpoint.stock import missing_modules, to_stock
from trimllm.compress import CompressSettings, sparsegpt_2_4
from trimllm.compress.job import CompressJob, linear_names, one_shot, taken
from trimllm.compress.sparsegpt_2_4 import BLOCK, prune
from trimllm.sublayers import Unit, drop

TEXTS = [" ".join(f"w{(i * k) % 97}" for i in range(1, 20)) for k in range(1, 13)]
SETTINGS = CompressSettings(max_tokens=100)


def by_library(weight: Tensor, hessian: Tensor) -> Tensor:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data.copy_(weight)
    options = {"block_size": 128, "dampening_frac": 0.01, "preserve_sparsity_mask": False}
    how = {"sparsity": 0.5, "prune_n": 2, "prune_m": 4} | options
    return sparsify_weight(layer, {layer: hessian.clone()}, **how)[1].detach()


def correlated(columns: int, tokens: int = 500) -> Tensor:
    """The Hessian of inputs whose channels go together."""
    inputs = torch.randn(tokens, columns) @ torch.randn(columns, columns)
    return inputs.T @ inputs / tokens


@pytest.mark.parametrize("columns", [8, BLOCK, BLOCK + 4, 2 * BLOCK + 36])
def test_weights_are_those_of_the_library(columns: int) -> None:
    torch.manual_seed(columns)
    weight, hessian = torch.randn(24, columns), correlated(columns)
    expected = by_library(weight, hessian)
    found = prune(weight.clone(), hessian.clone())
    assert torch.equal(found == 0, expected == 0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[found != 0], weight[found != 0])


def test_inputs_that_are_never_there_count_nothing() -> None:
    torch.manual_seed(1)
    weight, hessian = torch.randn(6, 16), correlated(16)
    hessian[3], hessian[:, 3] = 0, 0
    found = prune(weight.clone(), hessian.clone())
    assert (found[:, 3] == 0).all()
    torch.testing.assert_close(found, by_library(weight, hessian), rtol=1e-4, atol=1e-5)


def test_rows_are_pruned_as_if_each_were_alone() -> None:
    torch.manual_seed(2)
    weight, hessian = torch.randn(5, 140), correlated(140)
    together = prune(weight, hessian.clone())
    alone = torch.cat([prune(row[None], hessian.clone()) for row in weight])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_inputs_that_cannot_be_inverted_are_one_line() -> None:
    with pytest.raises(UserError, match=r"sparsegpt_2_4: .* raise compress.calibration_documents"):
        prune(torch.ones(4, 4), torch.full((4, 4), torch.nan))


@pytest.mark.parametrize("family", ["llama", "opt", "qwen2"])
def test_layers_with_one_input_are_pruned_as_if_each_were_alone(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joint Hessians and loops, against the library's for each layer."""
    torch.manual_seed(3)
    model = drop(tiny(family, mlp_width=64), [Unit(0, "attention"), Unit(1, "mlp")])
    model, tokenizer = trimllm.load(checkpoint.save(model, word_tokenizer(), tmp_path / "dense"))
    job = CompressJob(model, tokenizer, TEXTS, "llmcompressor", SETTINGS, tmp_path)
    stock, missing = to_stock(model, SETTINGS.seed), missing_modules(model)
    targets = linear_names(stock, missing)[0]
    one_shot(stock, job, [SparseGPTModifier(sparsity=0.5, mask_structure="2:4", targets=targets)])
    expected, loops = taken(stock), []

    def noted(weight: Tensor, hessian: Tensor) -> Tensor:
        loops.append(weight.shape)
        return prune(weight, hessian)

    monkeypatch.setattr(sparsegpt_2_4, "prune", noted)
    found = sparsegpt_2_4.compress(job).tensors
    assert {f"{name}.weight" for name in targets} <= set(found)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5, msg=name)
    # Queries, keys and values together, gate and up together.
    alone = [name for name in targets if name.endswith(("o_proj", "out_proj", "down_proj", "fc2"))]
    assert len(loops) == 2 * len(alone)
