"""LLM-Pruner: structured pruning by first-order Taylor importance (Ma et al. 2023,
arXiv:2305.11627), without its recovery training.

Importance of a weight is |w dL/dw| on the calibration texts, that of a structure the sum over its
weights. Structures are, in every unit by itself: a key/value head with the query heads that share
it, and a channel of the MLP. Every attention keeps as many heads and every MLP as many channels as
the others, since a stock configuration has one number for all: `plan` chooses both so that the
units keep a given share of their parameters. torch-pruning scores and cuts; which rows and columns
belong together is said here, because its tracer takes query head i for key head i.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from trimllm.base.errors import UserError
from trimllm.base.precision import has_bfloat16
from trimllm.compress.calibration import encode
from trimllm.compress.job import Compressed, CompressJob, untied
from trimllm.units import unit_layers, unit_parameters
from trimllm.units.adapters import family_of

# MLP widths are multiples of this where the model is wide enough: what kernels like.
WIDTH_STEP = 8
# Texts of one backward pass.
TEXTS_AT_ONCE = 8

# One linear layer of a structure: a layer, which side is cut, and the structure of each index.
Side = namedtuple("Side", "linear rows owner")
# What torch-pruning's importance reads of a dependency.
Dependency = namedtuple("Dependency", "target handler")
Target = namedtuple("Target", "module")


@dataclass
class Item:
    """A member of a group, as torch-pruning goes through it."""

    dep: Dependency
    idxs: list[int]
    root_idxs: list[int]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.dep, self.idxs))


@dataclass(frozen=True)
class Plan:
    """What every unit keeps."""

    heads: int  # key/value heads of an attention
    channels: int  # of an MLP
    share: float  # of the units' parameters, norms included


def shape_of(config: Any) -> tuple[int, int, int]:
    """Key/value heads, query heads to each, MLP channels."""
    if family_of(config.model_type) == "opt":
        return config.num_attention_heads, 1, config.ffn_dim
    heads = config.num_key_value_heads
    return heads, config.num_attention_heads // heads, config.intermediate_size


def plan(model: nn.Module, kept: float) -> Plan:
    """Heads and channels that keep the share `kept` of the units' parameters most nearly.

    Of the heads the share itself, rounded up, and MLP channels from what is left. OPT keeps all
    heads: its configuration ties their number to the hidden width. Raises `UserError` when that
    leaves the MLPs nothing.
    """
    heads, _, channels = shape_of(model.config)
    sizes = {"attention": 0, "mlp": 0}
    for unit, parameters in unit_parameters(model).items():
        sizes[unit.kind] += sum(p.numel() for p in parameters)
    kept_heads = heads
    if family_of(model.config.model_type) != "opt":
        kept_heads = min(heads, max(1, int(kept * heads + 0.999)))
    attention = sizes["attention"] * kept_heads / heads
    budget = kept * sum(sizes.values()) - attention
    width = channels
    if sizes["mlp"]:
        width = int(channels * budget / sizes["mlp"])
        width -= width % WIDTH_STEP if width >= 4 * WIDTH_STEP else 0
    if width < 1:
        raise UserError(
            f"llm_pruner: attention alone holds more than {100 * kept:g}% of this model's units, "
            "and OPT's cannot lose heads; prune another model"
            if kept_heads == heads
            else f"llm_pruner: {100 * kept:g}% leaves no MLP channel; keep more"
        )
    width = min(width, channels)
    share = (attention + sizes["mlp"] * width / channels) / sum(sizes.values())
    return Plan(kept_heads, width, share)


def structures(model: nn.Module, layer: nn.Module, kind: str) -> list[Side]:
    """The linear layers of a unit, with the structure that every row or column belongs to."""
    heads, queries, channels = shape_of(model.config)
    opt = family_of(model.config.model_type) == "opt"
    if kind == "mlp":
        names = ("fc1", "fc2") if opt else ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
        owner = torch.arange(channels)
        *inner, out = (layer.get_submodule(name) for name in names)
        return [*(Side(linear, True, owner) for linear in inner), Side(out, False, owner)]
    module = layer.self_attn
    width = module.head_dim
    single = torch.arange(heads).repeat_interleave(width)
    query = torch.arange(heads).repeat_interleave(queries * width)
    out = module.out_proj if opt else module.o_proj
    return [
        Side(module.q_proj, True, query),
        Side(module.k_proj, True, single),
        Side(module.v_proj, True, single),
        Side(out, False, query),
    ]


def taylor(sides: Sequence[Side]) -> Tensor:
    """Importance of every structure of a unit, from weights and gradients."""
    import torch_pruning as tp

    items = [
        Item(
            Dependency(Target(side.linear), _handler(side)),
            list(range(len(side.owner))),
            side.owner.tolist(),
        )
        for side in sides
    ]
    scorer = tp.importance.GroupTaylorImportance(group_reduction="sum", normalizer=None)
    # As long as the first layer has rows: what no row belongs to stays zero.
    return scorer(items)[: int(sides[0].owner.max()) + 1]


def _handler(side: Side) -> Any:
    import torch_pruning as tp

    return tp.prune_linear_out_channels if side.rows else tp.prune_linear_in_channels


def cut(model: nn.Module, kept: Plan, importance: Callable[[Sequence[Side]], Tensor]) -> None:
    """Remove the least important structures of every unit, in place, and mend the config."""
    for unit, layer in unit_layers(model):
        keep = kept.heads if unit.kind == "attention" else kept.channels
        sides = structures(model, layer, unit.kind)
        score = importance(sides)
        if keep == len(score):
            continue
        gone = torch.zeros(len(score), dtype=torch.bool)
        gone[score.cpu().argsort(stable=True)[: len(score) - keep]] = True
        for side in sides:
            _handler(side)(side.linear, torch.nonzero(gone[side.owner]).flatten().tolist())
    for key, value in config_changes(model.config, kept).items():
        setattr(model.config, key, value)


def config_changes(config: Any, kept: Plan) -> dict[str, int]:
    """Keys of the stock configuration that describe the pruned model."""
    if family_of(config.model_type) == "opt":
        return {"ffn_dim": kept.channels}
    _, queries, _ = shape_of(config)
    head_dim = getattr(config, "head_dim", None)
    return {
        "head_dim": head_dim or config.hidden_size // config.num_attention_heads,
        "num_attention_heads": kept.heads * queries,
        "num_key_value_heads": kept.heads,
        "intermediate_size": kept.channels,
    }


def gradients(
    model: nn.Module, encoded: Sequence[Sequence[int]], *, on_host: bool | None = None
) -> None:
    """Leave dL/dw of the summed losses of all texts in the weights of the units.

    A text's loss is its mean over tokens. A CPU multiplies in bfloat16 where it is fast at that.

    Args:
        on_host: sum gradients in host memory, text by text, and leave the model there: a GPU that
            holds the weights need not hold as much again. None: where the model is on a GPU.
    """
    device = model.get_input_embeddings().weight.device
    on_host = device.type != "cpu" if on_host is None else on_host
    model.requires_grad_(False)
    wanted = [p for parameters in unit_parameters(model).values() for p in parameters]
    sums: dict[nn.Parameter, Tensor] = {}

    def put_away(parameter: nn.Parameter) -> None:
        found, parameter.grad = parameter.grad.to("cpu"), None
        sums[parameter] = found if parameter not in sums else sums[parameter].add_(found)

    for parameter in wanted:
        parameter.requires_grad_(True)
    hooks = [p.register_post_accumulate_grad_hook(put_away) for p in wanted if on_host]
    texts = sorted((ids for ids in encoded if len(ids) > 1), key=len)
    fast = device.type == "cpu" and has_bfloat16()
    at_once = 1 if on_host else TEXTS_AT_ONCE
    for start in range(0, len(texts), at_once):
        some = [torch.tensor(list(ids), device=device) for ids in texts[start:][:at_once]]
        # What stands after a text is never seen by it: attention is causal.
        rows = pad_sequence(some, batch_first=True)
        targets = pad_sequence(some, batch_first=True, padding_value=-100)[:, 1:]
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            logits = model(rows, use_cache=False).logits[:, :-1]
        losses = F.cross_entropy(logits.float().mT, targets, reduction="none")
        (losses.sum(1) / (targets >= 0).sum(1)).sum().backward()
    if on_host:
        for hook in hooks:
            hook.remove()
        model.to("cpu")
        for parameter, total in sums.items():
            parameter.grad = total


def compress(job: CompressJob) -> Compressed:
    """Compress with the job's engine; the model of the job is cut in place."""
    model, kept = job.model, plan(job.model, job.settings.kept)
    changes = config_changes(model.config, kept)
    gradients(model, encode(job.tokenizer, job.texts, job.settings.max_tokens))
    cut(model, kept, taylor)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in untied(model).items()}
    facts = {"kept_of_units_percent": 100 * kept.share, "kept": changes}
    return Compressed(tensors, changes, facts)
