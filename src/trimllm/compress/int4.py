"""Four-bit weights: round to nearest, and the packed format that AWQ's kernels read.

A row of `group_size` weights w shares a scale s and a zero code z, both from its range extended to
hold 0: s = (max - min) / 15, z = round(-min / s); code = round(w / s) + z, weight = s (code - z).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trimllm.compress.engines import CompressSettings
from trimllm.compress.job import change_linears_

YARDSTICK = "round to nearest, int4"
MAX_CODE = 15
CODES_IN_WORD = 8
# Position in a 32-bit word, from the lowest bits: the order of AWQ's GEMM kernels.
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def ranges(weight: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """Scales and zero codes, both (out, groups), of a weight (out, in)."""
    grouped = weight.float().unflatten(1, (-1, group_size))
    low, high = grouped.amin(2).clamp(max=0), grouped.amax(2).clamp(min=0)
    scales = ((high - low) / MAX_CODE).clamp(min=1e-8)
    return scales, (-low / scales).round().clamp(0, MAX_CODE)


def codes_of(weight: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    """Codes 0 to 15, (out, in), nearest to a weight (out, in)."""
    grouped = weight.float().unflatten(1, (scales.shape[1], -1))
    codes = (grouped / scales[..., None]).round() + zeros[..., None]
    return codes.clamp(0, MAX_CODE).flatten(1).to(torch.int32)


def decoded(codes: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    """Weights (out, in) in float32 that codes stand for."""
    grouped = codes.float().unflatten(1, (scales.shape[1], -1))
    return ((grouped - zeros.float()[..., None]) * scales.float()[..., None]).flatten(1)


def round_to_nearest(weight: Tensor, group_size: int) -> Tensor:
    """The weight (out, in) as plain rounding would store it."""
    scales, zeros = ranges(weight, group_size)
    return decoded(codes_of(weight, scales, zeros), scales, zeros).to(weight.dtype)


def plain_(model: nn.Module, settings: CompressSettings) -> None:
    """The yardstick of four-bit methods: the same groups, rounded to nearest, in place."""
    change_linears_(model, lambda weight: round_to_nearest(weight, settings.group_size))


def pack_awq(codes: Tensor, scales: Tensor, zeros: Tensor) -> dict[str, Tensor]:
    """qweight (in, out / 8), qzeros (groups, out / 8), scales (groups, out): AWQ's GEMM format."""
    return {
        "qweight": _words(codes.t()),
        "qzeros": _words(zeros.t()),
        "scales": scales.t().to(torch.float16).contiguous(),
    }


def _words(codes: Tensor) -> Tensor:
    """(rows, n) codes as (rows, n / 8) words of 32 bits."""
    grouped = codes.to(torch.int64).unflatten(1, (-1, CODES_IN_WORD))
    words = sum(grouped[..., at] << (4 * place) for place, at in enumerate(AWQ_ORDER))
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32).contiguous()
