"""AWQ, activation-aware four-bit weights (Lin et al. 2024, arXiv:2306.00978).

Input channels with large activations are scaled up before weights are rounded, and the layer
before them is scaled down: s = a^alpha, alpha from a grid, smallest error of the unit's output.
Stored in AWQ's GEMM format, whichever engine made it, so that int4 kernels read it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from trimllm.base.precision import has_bfloat16
from trimllm.checkpoint.stock import missing_modules, strip, to_stock
from trimllm.compress import external_engine, int4
from trimllm.compress.job import Compressed, CompressJob, linear_names, outside_linears
from trimllm.compress.oneshot import one_shot, state_of

# Points of the grid for alpha; the paper takes 20. Ten lose little and take half the time.
GRID = 10


def compress(job: CompressJob) -> Compressed:
    """Compress with the job's engine."""
    if job.engine == "autoawq":
        return external_engine.compress(job)
    return _llmcompressor(job)


def _llmcompressor(job: CompressJob) -> Compressed:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier

    stock = to_stock(job.model, job.settings.seed)
    missing = missing_modules(job.model)
    gone = tuple(f"{name}." for name in missing)
    linears = [name for name in linear_names(stock) if not f"{name}.".startswith(gone)]
    left_alone = [name for name in linear_names(stock) if name not in set(linears)]
    weights = QuantizationArgs(
        num_bits=4,
        type="int",
        symmetric=False,
        strategy="group",
        group_size=job.settings.group_size,
    )
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    ignore = [*outside_linears(stock), *left_alone]
    # In the precision that models have when this tool is used elsewhere, and half the time. The
    # embedded default it leaves as good as rounding to nearest (within 0.04 in five domains); in
    # float32 the search fits the few documents, and was 0.11 better to 0.13 worse.
    fast = job.settings.device == "cpu" and has_bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=fast):
        one_shot(
            stock,
            job,
            [
                AWQModifier(mappings=_mappings(stock), n_grid=GRID, duo_scaling=True),
                QuantizationModifier(config_groups={"units": scheme}, ignore=ignore),
            ],
        )
    tensors = state_of(stock)
    for name in linears:
        layer = stock.get_submodule(name)
        for key in [key for key in tensors if key.startswith(f"{name}.") and "bias" not in key]:
            del tensors[key]
        # float16 is what the format stores: the codes are chosen for the rounded scales.
        scales = layer.weight_scale.detach().cpu().half().float()
        zeros = _unsigned(layer.weight_zero_point.detach().cpu())
        codes = int4.codes_of(layer.weight.detach().cpu(), scales, zeros)
        packed = int4.pack_awq(codes, scales, zeros)
        tensors |= {f"{name}.{key}": tensor for key, tensor in packed.items()}
    return Compressed(
        strip(tensors, missing),
        {"quantization_config": quantization_config(job, outside_linears(stock))},
    )


def _unsigned(zeros: Any) -> Any:
    """compressed-tensors counts codes from -8."""
    return zeros.float() + 8


def quantization_config(job: CompressJob, untouched: list[str]) -> dict[str, Any]:
    """What tells transformers how to read the weights."""
    return {
        "quant_method": "awq",
        "bits": 4,
        "group_size": job.settings.group_size,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": untouched,
    }


def _mappings(stock: nn.Module) -> list[Any]:
    from llmcompressor.modifiers.transform.awq.mappings import AWQMapping, default_mappings

    if stock.config.model_type != "opt":
        return default_mappings
    return [
        AWQMapping("re:.*self_attn_layer_norm$", [f"re:.*{x}_proj$" for x in "qkv"]),
        AWQMapping("re:.*v_proj$", ["re:.*out_proj$"]),
        AWQMapping("re:.*layers.*final_layer_norm$", ["re:.*fc1$"]),
        AWQMapping("re:.*fc1$", ["re:.*fc2$"]),
    ]
