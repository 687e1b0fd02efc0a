"""Rounding and packing to four bits."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimllm.compress import rounding
from trimllm.compress.rounding import int8_to_nearest, two_of_four


def random_weight(rows: int, columns: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) + shift


def unpacked(words: torch.Tensor) -> torch.Tensor:
    """(columns, rows) codes of (rows, columns / 8) words in AWQ's published order."""
    shifts = torch.tensor([0, 16, 4, 20, 8, 24, 12, 28])  # of value i of eight
    return ((words[..., None] >> shifts) & 15).flatten(1).t().float()


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([16, 32]), st.floats(-3, 3), st.floats(-9, 2))
def test_packing_is_rounding_to_nearest(seed, group, shift, power):
    """To half a step and the rounding of the zero code and of float16 scales."""
    weight = random_weight(16, 64, seed, shift) * 10**power
    weight[3] = 0
    packed = rounding.pack_awq(weight, group)
    scales = packed["scales"].t().float()
    codes = unpacked(packed["qweight"]).unflatten(1, (-1, group))
    zeros = unpacked(packed["qzeros"])[..., None]
    decoded = ((codes - zeros) * scales[..., None]).flatten(1)
    step = rounding.ranges(weight, group)[0][..., None]
    for rounded in (decoded, rounding.int4_to_nearest(weight, group)):
        error = (rounded - weight).abs().unflatten(1, (-1, group))
        assert (error <= step * 1.02 + 2**-20).all()
        assert not rounded[3].any()
    again = rounding.int4_to_nearest(rounding.int4_to_nearest(weight, group), group)
    torch.testing.assert_close(again, rounding.int4_to_nearest(weight, group))


def test_yardsticks():
    """Two of four: the larger two stay. Eight bits: half a step at most."""
    weight = random_weight(8, 32, 1)
    pruned, grouped = two_of_four(weight).unflatten(1, (-1, 4)), weight.unflatten(1, (-1, 4))
    assert ((pruned == grouped) | (pruned == 0)).all() and ((pruned != 0).sum(2) == 2).all()
    smallest_kept = pruned.abs().masked_fill(pruned == 0, 99).amin(2)
    assert (smallest_kept >= grouped.abs().masked_fill(pruned != 0, 0).amax(2)).all()
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((int8_to_nearest(weight) - weight).abs() <= step * 0.5001).all()
