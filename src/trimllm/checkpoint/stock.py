"""A trimmed model as a stock one, and back, since compressors know whole models only."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.initialization import no_init_weights

from trimllm.sublayers import adapter_of
from trimllm.sublayers.families import KINDS, units
from trimllm.sublayers.modeling_trimllm import decoder_of, packed_blocks


def missing_units(model: nn.Module) -> list[tuple[int, str]]:
    """(block of the packed model, kind) of every sublayer that its blocks lack."""
    blocks = enumerate(packed_blocks(units(model)))
    return [(number, kind) for number, block in blocks for kind in KINDS if kind not in block]


def missing_modules(model: nn.Module) -> list[str]:
    """Names of the modules that a packed model lacks, such as `model.layers.3.self_attn`."""
    prefix, parts = layers_prefix(model), adapter_of(model).parts
    return [f"{prefix}.{at}.{part}" for at, kind in missing_units(model) for part in parts[kind]]


def layers_prefix(model: nn.Module) -> str:
    """Name of the module that holds the decoder layers."""
    layers = decoder_of(model).layers
    return next(name for name, module in model.named_modules() if module is layers)


def stock_config(config: Any) -> Any:
    """The stock configuration with as many blocks, all of them whole."""
    content: dict[str, Any] = config.to_dict()
    kind: Any = type(config)
    if content.pop("units", None) is not None:
        kind = kind.__base__
        for key in ("original_num_hidden_layers", "auto_map", "model_type", "architectures"):
            content.pop(key, None)
    return kind.from_dict(content)


def unwritten(config: Any, dtype: torch.dtype) -> nn.Module:
    """A model with uninitialized weights, all of which the caller will write."""
    with no_init_weights():
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.tie_weights()  # part of the initialization that was left out
    return model


@torch.no_grad()
def to_stock(model: nn.Module, seed: int = 0) -> nn.Module:
    """A stock model that computes what `model` does and shares its weights. Missing sublayers are
    random (a compressor's statistics are finite) up to their output projections, which are zero."""
    stock = unwritten(stock_config(model.config), model.dtype).to(model.device)
    stock.load_state_dict(model.state_dict(), strict=False, assign=True)
    stock.tie_weights()
    stock.generation_config = model.generation_config
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for name in missing_modules(model):
            stock.get_submodule(name).apply(stock._init_weights)
    for number, kind in missing_units(model):
        layer = decoder_of(stock).layers[number]
        for parameter in adapter_of(model).output_projection(layer, kind).parameters():
            parameter.zero_()
    return stock.eval()


def strip(tensors: Mapping[str, Tensor], missing: Sequence[str]) -> dict[str, Tensor]:
    """The tensors outside of missing modules."""
    prefixes = tuple(f"{name}." for name in missing)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefixes)}
