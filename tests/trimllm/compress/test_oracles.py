"""SparseGPT and LLM-Pruner against plain loops, and the device that llmcompressor runs on."""

from pathlib import Path

import pytest
import torch
from models import SOME, logits_of, some_ids, tiny, word_tokenizer
from torch import Tensor, nn

import trimllm
from trimllm import checkpoint
from trimllm.base.errors import UserError
from trimllm.compress import engines, llm_pruner
from trimllm.compress.engines import CompressJob
from trimllm.compress.methods import CompressSettings
from trimllm.sublayers import Unit, adapter_of, unit_layers, unit_parameters, units

TEXTS = [" ".join(f"w{(i * k) % 97}" for i in range(1, 20)) for k in range(1, 13)]
SETTINGS = CompressSettings(max_tokens=100)


def job_of(model: nn.Module, folder: Path) -> CompressJob:
    """With a copy of the model that was read from a file, as llmcompressor wants it."""
    tokenizer = word_tokenizer()
    loaded, _ = trimllm.load(checkpoint.save(model, tokenizer, folder / "dense"))
    return CompressJob(loaded, tokenizer, TEXTS, "any", SETTINGS, folder)


def pruned(weight: Tensor, inputs: Tensor) -> Tensor:
    """SparseGPT's Algorithm 1 with 2:4, column by column; inputs (tokens, in)."""
    hessian = inputs.T @ inputs
    hessian += 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian))
    factor = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
    weight = weight.clone()
    for column in range(weight.shape[1]):
        if column % 4 == 0:
            four = slice(column, column + 4)
            salience = (weight[:, four] / factor.diagonal()[four]) ** 2
            least = salience.argsort(1)[:, :2] + column
        zero = (least == column).any(1)
        error = torch.where(zero, weight[:, column], 0) / factor[column, column]
        weight[:, column:] -= error[:, None] * factor[column, column:]
        weight[zero, column] = 0
    return weight


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_sparsegpt_prunes_by_the_inputs_of_a_layer(family, tmp_path):
    """The first attention's layers, whose inputs no pruning has changed."""
    model = tiny(family, dropped=[Unit(1, "mlp"), Unit(2, "attention")])
    job = job_of(model, tmp_path)
    attention = unit_layers(model.double())[0][1].self_attn
    seen: list[Tensor] = []
    attention.q_proj.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    for row in job.rows():
        model(row)
    inputs = torch.cat(seen, 1)[0].detach()
    tensors = engines.sparsegpt_2_4(job).tensors
    names = {id(module): name for name, module in model.named_modules()}
    for layer in (attention.q_proj, attention.k_proj, attention.v_proj):
        expected = pruned(layer.weight.detach(), inputs).float()
        stored = tensors[f"{names[id(layer)]}.weight"]
        torch.testing.assert_close(stored, expected, rtol=1e-3, atol=1e-4)


def test_llmcompressor_runs_on_the_device_of_the_job(tmp_path, monkeypatch):
    """And not on the first GPU because there is one."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    tensors = engines.sparsegpt_2_4(job_of(tiny("llama"), tmp_path)).tensors
    assert {tensor.device.type for tensor in tensors.values()} == {"cpu"}


def plain_scores(model: nn.Module, layer: nn.Module, kind: str) -> list[tuple[float, Tensor]]:
    """Importance of every structure and its columns in the output projection, by loops."""
    config, outer = model.config, adapter_of(model).output_projection(layer, kind)
    if kind == "mlp":
        inner = [m for n, m in layer.named_modules() if n.endswith(("gate_proj", "up_proj", "fc1"))]
        count = outer.weight.shape[1]
        groups = [([(one, [at]) for one in inner], [at]) for at in range(count)]
    else:
        attention, width = layer.self_attn, layer.self_attn.head_dim
        heads = getattr(config, "num_key_value_heads", config.num_attention_heads)
        share = config.num_attention_heads // heads
        groups = []
        for head in range(heads):
            single = list(range(head * width, (head + 1) * width))
            query = list(range(head * share * width, (head + 1) * share * width))
            rows = [(attention.q_proj, query)]
            groups.append((rows + [(attention.k_proj, single), (attention.v_proj, single)], query))
    scores = []
    for rows, columns in groups:
        score = (outer.weight * outer.weight.grad)[:, columns].abs().sum()
        for linear, index in rows:
            score = score + (linear.weight * linear.weight.grad)[index].abs().sum()
        scores.append((score.item(), torch.tensor(columns)))
    return scores


@pytest.mark.parametrize("family, dropped", [("llama", SOME), ("opt", []), ("qwen2", SOME)])
def test_llm_pruner_removes_the_structures_that_matter_least(
    family, dropped, tmp_path, monkeypatch
):
    """The cut model computes what the whole one does with their output columns at zero."""
    monkeypatch.setattr(llm_pruner, "has_bfloat16", lambda: False)
    silenced = tiny(family, mlp_width=128, dropped=dropped)
    job = job_of(silenced, tmp_path)
    model, kept = job.model, llm_pruner.plan(silenced, 0.5)
    for row in job.rows():
        silenced(row, labels=row).loss.backward()
    output = adapter_of(silenced).output_projection
    for unit, layer in unit_layers(silenced):
        scores = sorted(plain_scores(silenced, layer, unit.kind), key=lambda pair: pair[0])
        for _, columns in scores[: len(scores) - kept[unit.kind]]:
            output(layer, unit.kind).weight.data[:, columns] = 0
    before = sum(p.numel() for ps in unit_parameters(model).values() for p in ps)
    result = llm_pruner.llm_pruner(job)
    after = sum(p.numel() for ps in unit_parameters(model).values() for p in ps)
    assert units(model) == units(silenced)
    torch.testing.assert_close(
        logits_of(model, some_ids()), logits_of(silenced, some_ids()), rtol=1e-4, atol=1e-4
    )
    assert result.facts["kept_of_units_percent"] == pytest.approx(100 * after / before)
    assert 0.4 < after / before < 0.55
    assert {name: getattr(model.config, name) for name in result.config} == result.config


def test_a_share_that_cannot_be_kept_is_refused():
    model = tiny("opt", dropped=[Unit(block, "mlp") for block in range(4)])
    with pytest.raises(UserError, match="OPT cannot lose heads"):
        llm_pruner.plan(model, 0.5)
    with pytest.raises(UserError, match=r"cannot prune the layer .*qkv_proj"):
        llm_pruner.plan(tiny("phi3"), 0.5)
