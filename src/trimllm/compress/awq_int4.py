"""AWQ, activation-aware four-bit weights (Lin et al. 2024, arXiv:2306.00978).

Input channels with large activations are scaled up before weights are rounded, and the layer
before them is scaled down: s = a^alpha, alpha from a grid, smallest error of the unit's output.
Stored in AWQ's GEMM format, whichever engine made it, so that int4 kernels read it.

It may be 0.25 nats worse than plain rounding: it can lose a little on texts that it has not seen,
and weights that had four bits before, as the embedded default's, lie on a grid that rounding mostly
keeps and that AWQ's scaling leaves.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
from torch import nn

from trimllm.base.precision import has_bfloat16
from trimllm.checkpoint.stock import strip
from trimllm.compress import int4
from trimllm.compress.job import (
    Compressed,
    CompressJob,
    Method,
    linear_names,
    one_shot,
    taken,
)

# Points of the grid for alpha; the paper takes 20. Ten lose little and take half the time.
GRID = 10
# Tokens that each point runs on, at most, in whole rows; activations are the mean over all.
SEARCH_TOKENS = 512


def compress(job: CompressJob) -> Compressed:
    """Compress with the job's engine."""
    return job.by_worker() if job.engine == "autoawq" else _llmcompressor(job)


def _llmcompressor(job: CompressJob) -> Compressed:
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor.modifiers.quantization import QuantizationModifier

    stock, missing = job.stock()
    linears, others = linear_names(stock, missing)
    size = job.settings.group_size
    weights = QuantizationArgs(
        num_bits=4, type="int", symmetric=False, strategy="group", group_size=size
    )
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    quantize = QuantizationModifier(config_groups={"units": scheme}, ignore=others)
    tokens = accumulate(row["input_ids"].numel() for row in job.rows())
    rows = max(1, sum(count <= SEARCH_TOKENS for count in tokens))
    scale = _modifier(rows, mappings=_mappings(stock), n_grid=GRID, duo_scaling=True)
    # In the precision that models have when this tool is used elsewhere.
    fast = job.settings.device == "cpu" and has_bfloat16()
    # Without its cache: the search changes weights in place and would try the first ones each time.
    with torch.autocast("cpu", torch.bfloat16, enabled=fast, cache_enabled=False):
        one_shot(stock, job, [scale, quantize])
    untouched = linear_names(stock)[1]
    tensors = taken(stock)
    for name in linears:
        keys = [key for key in tensors if key.startswith(f"{name}.") and "bias" not in key]
        layer = {key.removeprefix(f"{name}."): tensors.pop(key) for key in keys}
        # float16 is what the format stores: the codes are chosen for the rounded scales.
        scales = layer["weight_scale"].half().float()
        # compressed-tensors counts codes from -8
        zeros = layer["weight_zero_point"].float() + 8
        codes = int4.codes_of(layer["weight"], scales, zeros)
        packed = int4.pack_awq(codes, scales, zeros)
        tensors |= {f"{name}.{key}": tensor for key, tensor in packed.items()}
    # What tells transformers how to read the weights.
    quantization = {
        "quant_method": "awq",
        "bits": 4,
        "group_size": size,
        "zero_point": True,
        "version": "gemm",
        "modules_to_not_convert": untouched,
    }
    return Compressed(strip(tensors, missing), {"quantization_config": quantization})


def _modifier(rows: int, **options: Any) -> Any:
    """llmcompressor's, whose search runs on the first `rows` rows."""
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.pipelines.cache import IntermediatesCache

    class Short(AWQModifier):
        def _run_samples(self, module: nn.Module) -> list[torch.Tensor]:
            cache = self._parent_args_cache[module]
            first = IntermediatesCache(cache.batch_intermediates[:rows], cache.offload_device)
            self._parent_args_cache[module] = first
            try:
                return super()._run_samples(module)
            finally:
                self._parent_args_cache[module] = cache

    return Short(**options)


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


METHOD = Method(compress, int4.plain_, int4.YARDSTICK, margin=0.25, grouped=True)
