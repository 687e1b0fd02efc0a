"""The sublayers of a model in memory: list and drop; and model families, one's own besides those
of `modeling_trimllm.FAMILIES`:

    from trimllm.sublayers import Family, register
    register(Family("toy", "Toy", module="my_package.modeling_toy"))

A row is enough if the family normalizes before its sublayers and its layers are all of one type.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from trimllm.base.errors import UserError
from trimllm.base.names import imported
from trimllm.sublayers import modeling_trimllm
from trimllm.sublayers.modeling_trimllm import FAMILIES, Family, decoder_of, packed_blocks, trimmed

KINDS = ("attention", "mlp")
_BUILT_IN = tuple(FAMILIES)


def register(family: Family) -> None:
    """Let a family be trimmed, and register its trimmed models with transformers' auto classes."""
    FAMILIES[family.name] = family
    classes = trimmed(family)
    config: Any = classes["AutoConfig"]
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModel.register(config, classes["AutoModel"], exist_ok=True)
    AutoModelForCausalLM.register(config, classes["AutoModelForCausalLM"], exist_ok=True)


def register_named(name: str) -> str:
    """The family of a name; `package.module:row` is imported and registered."""
    if ":" not in name:
        return name
    family = imported(name)
    if not isinstance(family, Family):
        raise UserError(f"{name!r} is no row of a model family (trimllm.sublayers.Family)")
    register(family)
    return family.name


def write_code(model: nn.Module, directory: Path) -> None:
    """Write the modeling file of a trimmed model, and name its classes in the config."""
    family = adapter_of(model)
    names = {auto: f"modeling_trimllm.{cls.__name__}" for auto, cls in trimmed(family).items()}
    model.config.auto_map = names
    text = Path(modeling_trimllm.__file__).read_text(encoding="utf-8")
    if family.name not in _BUILT_IN:
        text += f"\nFAMILIES[{family.name!r}] = {family}\n"
    (directory / "modeling_trimllm.py").write_text(text, encoding="utf-8")


def family_of(model_type: str) -> str:
    """The stock model type of a possibly trimmed one: "trimllm_llama" is "llama"."""
    return model_type.removeprefix("trimllm_")


def adapter_of(model: nn.Module) -> Family:
    """The row of a model's family; `UserError` if there is none or its layers differ in type."""
    config: Any = model.config
    name, path = family_of(config.model_type), config._name_or_path or "this model"
    types = sorted(set(getattr(config, "layer_types", None) or ()))
    if name not in FAMILIES:
        raise UserError(
            f"model family {name!r} cannot be trimmed (there are: {', '.join(FAMILIES)}); register "
            "one with trimllm.sublayers.register"
        )
    if not getattr(config, "do_layer_norm_before", True):
        raise UserError(
            f"{path} normalizes after its sublayers (do_layer_norm_before: false) and cannot be "
            "trimmed; use another OPT size"
        )
    # A cache takes the type of its n-th layer from the n-th block, and a trimmed model's n-th
    # attention may be in another block.
    if len(types) > 1:
        raise UserError(
            f"{path} mixes {' and '.join(types)} layers, which a trimmed model's KV cache cannot; "
            "set use_sliding_window: false"
        )
    return FAMILIES[name]


def window_of(config: Any) -> int | None:
    """Tokens that an attention sees, its own included; None: all."""
    if types := getattr(config, "layer_types", None):
        return config.sliding_window if set(types) == {"sliding_attention"} else None
    return getattr(config, "sliding_window", None)


def device_of(model: nn.Module) -> torch.device:
    """Device of the model's embeddings, where ids have to be."""
    return model.get_input_embeddings().weight.device


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


def size_of(model: nn.Module) -> dict[str, int]:
    """Sublayers and parameters that a model has left, for its record."""
    parameters = sum(p.numel() for p in model.parameters())
    left, total = len(units(model)), original_units(model)
    return {"units_left": left, "units_total": total, "parameters": parameters}


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
    """Remove sublayers in place, so that the residual stream passes unchanged; returns the model,
    which computes exactly what it computes with their output projections set to zero.

    Raises `UserError`: the model does not have one of them, or nothing would be left.
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


for _family in list(FAMILIES.values()):
    register(_family)
