"""The yardsticks of weights (round to nearest, 2:4 by magnitude), and AWQ's packed format.

Four bits: a row of `group_size` weights w shares a scale s and a zero code z, both from its range
extended to hold 0: s = (max - min) / 15, z = round(-min / s); code = round(w / s) + z, and the
weight is s (code - z). Weights are (out, in), scales and zeros (out, groups).
"""

import torch
from torch import Tensor

from trimllm.base.errors import UserError

MAX_CODE = 15
# Position in a 32-bit word, from the lowest bits: the order of AWQ's GEMM kernels.
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def ranges(weight: Tensor, group_size: int) -> tuple[Tensor, Tensor]:
    """Scales and zero codes of a weight."""
    if weight.shape[1] % group_size:
        raise UserError(
            f"group size {group_size} does not divide a layer's {weight.shape[1]} inputs; use 32, "
            "64 or 128, whichever divides all widths, or another compressor"
        )
    grouped = weight.float().unflatten(1, (-1, group_size))
    low, high = grouped.amin(2).clamp(max=0), grouped.amax(2).clamp(min=0)
    scales = ((high - low) / MAX_CODE).clamp(min=1e-8)
    return scales, (-low / scales).round().clamp(0, MAX_CODE)


def codes_of(weight: Tensor, scales: Tensor, zeros: Tensor) -> Tensor:
    """Codes 0 to 15, (out, groups, in a group), nearest to a weight."""
    grouped = weight.float().unflatten(1, (scales.shape[1], -1))
    return ((grouped / scales[..., None]).round() + zeros[..., None]).clamp(0, MAX_CODE)


def int4_to_nearest(weight: Tensor, group_size: int) -> Tensor:
    """A weight as plain rounding would store it in four bits, in float32."""
    scales, zeros = ranges(weight, group_size)
    codes = codes_of(weight, scales, zeros)
    return ((codes - zeros[..., None]) * scales[..., None]).flatten(1)


def int8_to_nearest(weight: Tensor) -> Tensor:
    """A weight in 255 steps, the largest of a row at 127."""
    scale = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    return (weight / scale).round() * scale


def two_of_four(weight: Tensor) -> Tensor:
    """A weight, the two smaller of every four neighbours in a row set to zero."""
    grouped = weight.unflatten(1, (-1, 4))
    kept = grouped.abs().topk(2, dim=2).indices
    return torch.zeros_like(grouped).scatter(2, kept, grouped.gather(2, kept)).flatten(1)


def pack_awq(weight: Tensor, group_size: int) -> dict[str, Tensor]:
    """A weight, rounded to nearest, in AWQ's GEMM format: qweight (in, out / 8) and qzeros
    (groups, out / 8), int32; scales (groups, out), float16."""
    scales, zeros = ranges(weight, group_size)
    scales = scales.half()
    # Codes for the scales that are stored; one that vanishes in float16 has zeros only.
    codes = codes_of(weight, scales.float().clamp(min=1e-8), zeros).flatten(1)
    words = {"qweight": _words(codes.t()), "qzeros": _words(zeros.t())}
    return words | {"scales": scales.t().contiguous()}


def _words(codes: Tensor) -> Tensor:
    """(rows, n) codes as (rows, n / 8) words of 32 bits; the sign bit is the highest code's."""
    places = codes.to(torch.int32).unflatten(1, (-1, 8))[..., AWQ_ORDER]
    shifts = torch.arange(0, 32, 4, dtype=torch.int32, device=codes.device)
    return (places << shifts).sum(2, dtype=torch.int32)
