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

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from trimllm.base.errors import UserError
from trimllm.base.precision import has_bfloat16
from trimllm.compress.engines import CompressSettings
from trimllm.compress.job import Compressed, CompressJob, Method
from trimllm.compress.visits import visiting
from trimllm.sublayers import adapter_of, family_of, unit_layers, unit_parameters

# MLP widths are multiples of this where the model is wide enough: what kernels like.
WIDTH_STEP = 8
# Texts of one backward pass.
TEXTS_AT_ONCE = 8


class Side(NamedTuple):
    """One linear layer of a structure."""

    linear: nn.Linear
    prune: Callable[..., Any]  # torch-pruning's for its rows (outputs) or columns
    owner: Tensor  # number of the structure that every row or column belongs to


class Item(tuple):
    """(dependency, indices), with `root_idxs`: a member of a group as torch-pruning takes it."""


class Shape(NamedTuple):
    """What a family's configuration says of the size of its units."""

    heads: int  # key/value heads
    queries: int  # query heads to each
    channels: int  # of an MLP
    inner: tuple[str, ...]  # linear layers into an MLP's channels
    fixed_heads: bool  # their number is tied to the hidden width


class Plan(NamedTuple):
    """What every unit keeps."""

    heads: int  # key/value heads of an attention
    channels: int  # of an MLP
    share: float  # of the units' parameters, norms included


def shape_of(config: Any) -> Shape:
    """The shape of a model's units."""
    family = family_of(config.model_type)
    if family == "phi3":
        raise UserError("llm_pruner cannot cut Phi-3's joined projections; use another compressor")
    if family == "opt":
        return Shape(config.num_attention_heads, 1, config.ffn_dim, ("fc1",), True)
    heads, inner = config.num_key_value_heads, ("mlp.gate_proj", "mlp.up_proj")
    queries = config.num_attention_heads // heads
    return Shape(heads, queries, config.intermediate_size, inner, False)


def plan(model: nn.Module, kept: float) -> Plan:
    """Heads and channels that keep the share `kept` of the units' parameters most nearly.

    Of the heads the share itself, rounded up, and MLP channels from what is left. OPT keeps all
    heads: its configuration ties their number to the hidden width. Raises `UserError` when that
    leaves the MLPs nothing.
    """
    shape, sizes = shape_of(model.config), {"attention": 0, "mlp": 0}
    for unit, parameters in unit_parameters(model).items():
        sizes[unit.kind] += sum(p.numel() for p in parameters)
    heads = shape.heads if shape.fixed_heads else max(1, int(kept * shape.heads + 0.999))
    heads = min(heads, shape.heads)
    attention = sizes["attention"] * heads / shape.heads
    budget = kept * sum(sizes.values()) - attention
    width = shape.channels
    if sizes["mlp"]:
        width = int(shape.channels * budget / sizes["mlp"])
        width -= width % WIDTH_STEP if width >= 4 * WIDTH_STEP else 0
    if width < 1:
        raise UserError(
            f"llm_pruner: attention alone holds more than {100 * kept:g}% of this model's units, "
            "and OPT's cannot lose heads; prune another model"
            if heads == shape.heads
            else f"llm_pruner: {100 * kept:g}% leaves no MLP channel; keep more"
        )
    width = min(width, shape.channels)
    share = (attention + sizes["mlp"] * width / shape.channels) / sum(sizes.values())
    return Plan(heads, width, share)


def structures(model: nn.Module, layer: nn.Module, kind: str) -> list[Side]:
    """The linear layers of a unit, with the structure that every row or column belongs to."""
    shape, out = shape_of(model.config), adapter_of(model).output_projection(layer, kind)
    if kind == "mlp":
        owner = torch.arange(shape.channels)
        inner = dict.fromkeys(shape.inner, owner)
    else:
        single = torch.arange(shape.heads).repeat_interleave(layer.self_attn.head_dim)
        owner = single.view(shape.heads, -1).repeat(1, shape.queries).flatten()
        inner = {f"self_attn.{x}_proj": owner if x == "q" else single for x in "qkv"}
    rows, columns = tp.prune_linear_out_channels, tp.prune_linear_in_channels
    sides = [Side(layer.get_submodule(name), rows, own) for name, own in inner.items()]
    return [*sides, Side(out, columns, owner)]


def taylor(sides: Sequence[Side]) -> Tensor:
    """Importance of every structure of a unit, from weights and gradients."""
    items: list[Any] = []
    for side in sides:
        target = SimpleNamespace(module=side.linear)
        dependency = SimpleNamespace(target=target, handler=side.prune)
        items.append(Item((dependency, list(range(len(side.owner))))))
        items[-1].root_idxs = side.owner.tolist()
    scorer = tp.importance.GroupTaylorImportance(group_reduction="sum", normalizer=None)
    # As long as the first layer has rows: what no row belongs to stays zero.
    return scorer(items)[: int(sides[0].owner.max()) + 1]


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
            side.prune(side.linear, torch.nonzero(gone[side.owner]).flatten().tolist())
    model.config.update(config_changes(model.config, kept))


def config_changes(config: Any, kept: Plan) -> dict[str, int]:
    """Keys of the stock configuration that describe the pruned model."""
    shape = shape_of(config)
    if shape.fixed_heads:
        return {"ffn_dim": kept.channels}
    head_dim = getattr(config, "head_dim", None)
    return {
        "head_dim": head_dim or config.hidden_size // config.num_attention_heads,
        "num_attention_heads": kept.heads * shape.queries,
        "num_key_value_heads": kept.heads,
        "intermediate_size": kept.channels,
    }


def gradients(
    model: nn.Module, encoded: Sequence[Sequence[int]], device: torch.device | str = "cpu"
) -> None:
    """Leave dL/dw of the summed losses of all texts in the weights of the units of a model on the
    host.

    A text's loss is its mean over tokens. A CPU multiplies in bfloat16 where it is fast at that. A
    GPU holds one block and its gradients at a time (see `visits`).
    """
    on_cpu = torch.device(device).type == "cpu"
    model.requires_grad_(False)
    for parameters in unit_parameters(model).values():
        for parameter in parameters:
            parameter.requires_grad_()
    texts = sorted((ids for ids in encoded if len(ids) > 1), key=len)
    with nullcontext() if on_cpu else visiting(model, device):
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            some = [torch.tensor(list(ids), device=device) for ids in texts[start:][:TEXTS_AT_ONCE]]
            # What stands after a text is never seen by it: attention is causal.
            rows = pad_sequence(some, batch_first=True)
            targets = pad_sequence(some, batch_first=True, padding_value=-100)[:, 1:]
            with torch.autocast("cpu", torch.bfloat16, enabled=on_cpu and has_bfloat16()):
                logits = model(rows, use_cache=False).logits[:, :-1]
            losses = F.cross_entropy(logits.float().mT, targets, reduction="none")
            (losses.sum(1) / (targets >= 0).sum(1)).sum().backward()


def compress(job: CompressJob) -> Compressed:
    """Compress with the job's engine; the model of the job is cut in place."""
    model, kept = job.model, plan(job.model, job.settings.kept)
    changes = config_changes(model.config, kept)
    gradients(model, job.encoded(), job.settings.device)
    cut(model, kept, taylor)
    facts = {"kept_of_units_percent": 100 * kept.share, "kept": changes}
    return Compressed(model.state_dict(), changes, facts)


def cut_at_random_(model: nn.Module, settings: CompressSettings) -> None:
    """The yardstick: structures drawn at random, the same widths."""
    generator = torch.Generator().manual_seed(settings.seed)
    kept = plan(model, settings.kept)
    cut(model, kept, lambda sides: torch.rand(int(sides[0].owner.max()) + 1, generator=generator))


METHOD = Method(compress, cut_at_random_, "random structures", margin=0.0)
