"""Model families that can be trimmed: the rows of `modeling_trimllm.FAMILIES`, and one's own.

    from trimllm.sublayers import Family, register
    register(Family("toy", "Toy", module="my_package.modeling_toy"))

A row is enough if the family normalizes before its sublayers and its layers are all of one type.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from trimllm.base.errors import UserError
from trimllm.base.names import imported
from trimllm.sublayers import modeling_trimllm
from trimllm.sublayers.modeling_trimllm import FAMILIES, Family, trimmed

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


for _family in list(FAMILIES.values()):
    register(_family)
