"""LLM-Pruner: structured pruning by first-order Taylor importance (Ma et al. 2023,
arXiv:2305.11627, Eq. 5 with N = 1), without its recovery training.

Importance of a weight is |w dL/dw| on the calibration texts, that of a structure the sum over its
weights: of a key/value head with the query heads that share it, or a channel of the MLP. All
attentions keep equally many heads and all MLPs equally many channels (`plan`), since a stock
configuration has one number for all.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from more_itertools import flatten
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.base.precision import has_bfloat16, round_weights_
from trimllm.compress.engines import Compressed, CompressJob, linear_names
from trimllm.sublayers import unit_layers, unit_parameters

# MLP widths are multiples of this where the model is wide enough: kernels are fastest there.
WIDTH_STEP = 8
# The layers whose rows (outputs, dimension 0) or columns (inputs, 1) belong to structures, by kind.
CUT = {
    "attention": {"q_proj": 0, "k_proj": 0, "v_proj": 0, "o_proj": 1, "out_proj": 1},
    "mlp": {"gate_proj": 0, "up_proj": 0, "fc1": 0, "down_proj": 1, "fc2": 1},
}
# Linear layers, and the dimension of the weight that holds the structures, one after the other.
Sides = list[tuple[nn.Linear, int]]
Importance = Callable[[Sides, int], Tensor]  # of so many structures


def sizes_of(config: Any) -> dict[str, int]:
    """Key/value heads of an attention and channels of an MLP, in a stock configuration."""
    if hasattr(config, "ffn_dim"):  # OPT
        return {"attention": config.num_attention_heads, "mlp": config.ffn_dim}
    return {"attention": config.num_key_value_heads, "mlp": config.intermediate_size}


def parameters_by_kind(model: nn.Module) -> dict[str, int]:
    """Parameters of the attentions and of the MLPs, norms included."""
    counts = dict.fromkeys(CUT, 0)
    for unit, parameters in unit_parameters(model).items():
        counts[unit.kind] += sum(p.numel() for p in parameters)
    return counts


def plan(model: nn.Module, kept: float) -> dict[str, int]:
    """Heads and channels that keep the share `kept` of the sublayers' parameters most nearly: of
    the heads the share itself, rounded up, and MLP channels from what is left. `UserError` if that
    is nothing, or if a linear layer has no rule here."""
    for name in linear_names(model)[0]:
        if name.rpartition(".")[2] not in CUT["attention"] | CUT["mlp"]:
            raise UserError(f"llm_pruner cannot prune the layer {name}; leave this compressor out")
    counts, (heads, channels) = parameters_by_kind(model), sizes_of(model.config).values()
    # OPT's configuration ties the number of heads to the hidden width.
    left = heads if hasattr(model.config, "ffn_dim") else math.ceil(round(kept * heads, 3))
    if counts["mlp"]:
        attention, total = counts["attention"] * left / heads, sum(counts.values())
        channels = min(channels, int(channels * (kept * total - attention) / counts["mlp"]))
        channels -= channels % WIDTH_STEP if channels >= 4 * WIDTH_STEP else 0
    if channels < 1:
        raise UserError(
            f"llm_pruner: {100 * kept:g}% of the parameters leave no MLP channel beside {left} of "
            f"{heads} heads (OPT cannot lose heads); raise `kept` or leave this compressor out"
        )
    return {"attention": left, "mlp": channels}


def taylor(sides: Sides, count: int) -> Tensor:
    """Importance of every structure of a sublayer: the sum of |w dL/dw| over its weights."""
    score = torch.zeros(count)
    for linear, dim in sides:
        change = (linear.weight * linear.weight.grad).detach().abs()
        score += change.sum(1 - dim, dtype=torch.float32).view(count, -1).sum(1).cpu()
    return score


@torch.no_grad()
def cut(model: nn.Module, share: float, importance: Importance) -> dict[str, int]:
    """Remove the least important structures of every sublayer, in place, and keep the share of its
    parameters; returns the keys of the configuration that have changed."""
    config, kept = model.config, plan(model, share)
    for unit, layer in unit_layers(model):
        cuts, count = CUT[unit.kind], sizes_of(config)[unit.kind]
        parts = ((name.rpartition(".")[2], module) for name, module in layer.named_modules())
        sides = [(module, cuts[name]) for name, module in parts if name in cuts]
        order = importance(sides, count).argsort(stable=True, descending=True)
        stays = order[: kept[unit.kind]].sort().values.to(model.device)
        for linear, dim in sides:
            structures = linear.weight.unflatten(dim, (count, -1)).index_select(dim, stays)
            linear.weight = nn.Parameter(structures.flatten(dim, dim + 1))
            if dim == 0 and linear.bias is not None:
                linear.bias = nn.Parameter(linear.bias.view(count, -1)[stays].flatten())
            linear.out_features, linear.in_features = linear.weight.shape
    if hasattr(config, "ffn_dim"):
        changes = {"ffn_dim": kept["mlp"]}
    else:
        queries, width = config.num_attention_heads, getattr(config, "head_dim", None)
        changes = {
            "head_dim": width or config.hidden_size // queries,
            "num_attention_heads": kept["attention"] * queries // config.num_key_value_heads,
            "num_key_value_heads": kept["attention"],
            "intermediate_size": kept["mlp"],
        }
    config.update(changes)
    return changes


def llm_pruner(job: CompressJob) -> Compressed:
    """Cut the model of the job, in place, by the gradients of the rows' mean losses; on a GPU in 16
    bits: weights and gradients of LLaMA-13B take 52 GB."""
    model, before = job.model, sum(parameters_by_kind(job.model).values())
    if job.settings.device != "cpu":
        round_weights_(model, torch.bfloat16).to(job.settings.device)
    model.requires_grad_(False)
    for parameter in flatten(unit_parameters(model).values()):
        parameter.requires_grad_()
    for row in job.rows().to(model.device):
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16()):
            model(row, labels=row, use_cache=False).loss.backward()
    changes = cut(model, job.settings.kept, taylor)
    share = sum(parameters_by_kind(model).values()) / before
    facts = {"kept_of_units_percent": 100 * share, "kept": changes}
    return Compressed(model.state_dict(), changes, facts)
