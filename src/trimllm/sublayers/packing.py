"""List, drop and pack the sublayers of a model in memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import nn

from trimllm.base.errors import UserError
from trimllm.sublayers.families import adapter_of
from trimllm.sublayers.modeling_trimllm import decoder_of, packed_blocks, trimmed

KINDS = ("attention", "mlp")


class Unit(NamedTuple):
    """An attention or MLP sublayer, named by its block in the original model."""

    block: int
    kind: str

    def __str__(self) -> str:
        return f"{self.block}.{self.kind}"


def units(model: nn.Module) -> list[Unit]:
    """The sublayers that a model has left, in forward order."""
    adapter_of(model)
    kept = getattr(model.config, "units", None)
    if kept is not None:
        return [Unit(block, kind) for block, kind in kept]
    return [Unit(block, kind) for block in range(model.config.num_hidden_layers) for kind in KINDS]


def original_units(model: nn.Module) -> int:
    """Number of sublayers of the full model that this one was trimmed from."""
    blocks = getattr(model.config, "original_num_hidden_layers", None)
    return 2 * (blocks or model.config.num_hidden_layers)


def unit_layers(model: nn.Module) -> list[tuple[Unit, nn.Module]]:
    """Every sublayer with the decoder layer that holds it, in forward order."""
    layers = decoder_of(model).layers
    return [
        (Unit(source, kind), layer)
        for layer, block in zip(layers, packed_blocks(units(model)), strict=True)
        for kind, source in block.items()
    ]


def unit_parameters(model: nn.Module) -> dict[Unit, list[nn.Parameter]]:
    """The parameters of every sublayer, its norm included."""
    parts = adapter_of(model).parts
    return {
        unit: [p for name in parts[unit.kind] for p in layer.get_submodule(name).parameters()]
        for unit, layer in unit_layers(model)
    }


def drop(model: nn.Module, dropped: Iterable[Unit]) -> nn.Module:
    """Remove sublayers in place, so that the residual stream passes unchanged; returns the model.

    The result computes exactly what the model computes with their output projections set to zero.

    Raises:
        UserError: the model does not have one of them, or nothing would be left.
    """
    present = units(model)
    gone = {Unit(*unit) for unit in dropped}
    if missing := sorted(gone - set(present)):
        raise UserError(f"cannot drop sublayer {missing[0]}: the model does not have it")
    kept = [unit for unit in present if unit not in gone]
    if not kept:
        raise UserError(f"cannot drop all {len(present)} sublayers of a model; keep at least one")

    family, layers, blocks = adapter_of(model), dict(unit_layers(model)), packed_blocks(kept)
    decoder, config = decoder_of(model), model.config
    modules = {
        unit: {name: layers[unit].get_submodule(name) for name in family.parts[unit.kind]}
        for unit in kept
    }
    # A packed block reuses the decoder layer of its first sublayer. No two reuse the same one: an
    # attention and the MLP of its own block are neighbours, so they are packed together.
    first = [next(iter(block.items())) for block in blocks]
    reused = [layers[Unit(source, kind)] for kind, source in first]
    places = [[*decoder.layers].index(layer) for layer in reused]
    for layer, block in zip(reused, blocks, strict=True):
        for kind, names in family.parts.items():
            parts = modules.get(Unit(block.get(kind, -1), kind), {})
            for name in names:
                setattr(layer, name, parts.get(name))
    decoder.layers = nn.ModuleList(reused)
    if not hasattr(model, "adopt_layers"):  # a stock model; every submodule shares its config
        classes: Any = trimmed(family)
        model.__class__, config.__class__ = classes["AutoModelForCausalLM"], classes["AutoConfig"]
        config.original_num_hidden_layers = config.num_hidden_layers
    for name in ("layer_types", *family.per_block):
        if entries := getattr(config, name, None):
            setattr(config, name, [entries[place] for place in places])
    config.units, config.num_hidden_layers = [[*unit] for unit in kept], len(blocks)
    model.adopt_layers()
    return model
