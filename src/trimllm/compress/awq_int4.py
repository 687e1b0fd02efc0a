"""AWQ, activation-aware four-bit weights (Lin et al. 2024, arXiv:2306.00978).

Input channels with large activations are scaled up before weights are rounded, and the layer
before them is scaled down: s = a^alpha, alpha from a grid, smallest error of the block's output.
Stored in AWQ's GEMM format, whichever engine made it, so that int4 kernels read it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trimllm.base.precision import has_bfloat16
from trimllm.checkpoint.stock import strip
from trimllm.compress import int4
from trimllm.compress.job import Compressed, CompressJob, linear_names

# Points of the grid for alpha; the paper's 20 take twice the time.
GRID = 10

yardstick_ = int4.yardstick_


def compress(job: CompressJob) -> Compressed:
    """Compress by llmcompressor, or by autoawq in its own environment."""
    if job.engine == "autoawq":
        return job.by_worker()
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    stock, missing = job.stock()
    linears, others = linear_names(stock, missing)
    size, untouched = job.settings.group_size, linear_names(stock)[1]
    args = QuantizationArgs(num_bits=4, symmetric=False, strategy="group", group_size=size)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    recipe = [
        AWQModifier(mappings=_mappings(stock), n_grid=GRID),
        # For its scheme alone, which the search rounds by.
        QuantizationModifier(config_groups={"sublayers": scheme}, ignore=others),
    ]
    fast = job.settings.device == "cpu" and has_bfloat16()
    # The search changes weights in place: a cache would hand it the first ones each time.
    with torch.autocast("cpu", torch.bfloat16, enabled=fast, cache_enabled=False):
        tensors = strip(job.one_shot(stock, recipe), missing)
    for name in linears:
        del tensors[f"{name}.weight_scale"], tensors[f"{name}.weight_zero_point"]
        packed = int4.pack_awq(tensors.pop(f"{name}.weight"), size)
        tensors |= {f"{name}.{key}": part for key, part in packed.items()}
    quantization = {"quant_method": "awq", "bits": 4, "group_size": size, "zero_point": True}
    quantization |= {"version": "gemm", "modules_to_not_convert": untouched}
    return Compressed(tensors, {"quantization_config": quantization})


def _mappings(stock: nn.Module) -> list[Any]:
    """Layers that are scaled down and the layers behind them; the library lacks OPT's."""
    from llmcompressor.modifiers.transform.awq.mappings import AWQMapping, default_mappings

    if stock.config.model_type != "opt":
        return default_mappings
    return [
        AWQMapping("re:.*self_attn_layer_norm$", [f"re:.*{x}_proj$" for x in "qkv"]),
        AWQMapping("re:.*v_proj$", ["re:.*out_proj$"]),
        AWQMapping("re:.*layers.*final_layer_norm$", ["re:.*fc1$"]),
        AWQMapping("re:.*fc1$", ["re:.*fc2$"]),
    ]
