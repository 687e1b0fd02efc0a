"""Rounding and packing to four bits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trimllm.compress import int4
from trimllm.compress.llm_int8 import int8_to_nearest
from trimllm.compress.sparsegpt_2_4 import two_of_four


def random_weight(rows: int, columns: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) + shift


def codes_in(words: torch.Tensor) -> torch.Tensor:
    """Eight codes of each 32-bit word, in the order of AWQ's format."""
    grouped = words.new_empty((*words.shape, int4.CODES_IN_WORD))
    for place, at in enumerate(int4.AWQ_ORDER):
        grouped[..., at] = (words >> (4 * place)) & int4.MAX_CODE
    return grouped.flatten(1)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([16, 32]), st.floats(-3, 3))
def test_rounding_errs_by_a_step_at_most(seed: int, group: int, shift: float) -> None:
    weight = random_weight(8, 64, seed, shift)
    scales, _ = int4.ranges(weight, group)
    error = (int4.round_to_nearest(weight, group) - weight).abs().unflatten(1, (-1, group))
    # Half a step for the weight; the zero code is rounded too, which shifts the ends of the range.
    assert (error <= scales[..., None] * 1.01).all()
    # Rounding what is rounded changes nothing.
    again = int4.round_to_nearest(int4.round_to_nearest(weight, group), group)
    torch.testing.assert_close(again, int4.round_to_nearest(weight, group))


@settings(max_examples=25)
@given(st.integers(0, 1000))
def test_packing_loses_nothing(seed: int) -> None:
    weight = random_weight(16, 64, seed)
    scales, zeros = int4.ranges(weight, 32)
    scales = scales.half().float()
    codes = int4.codes_of(weight, scales, zeros)
    packed = int4.pack_awq(codes, scales, zeros)
    found = codes_in(packed["qweight"]).t(), packed["scales"].t(), codes_in(packed["qzeros"]).t()
    for got, put in zip(found, (codes, scales.half(), zeros), strict=True):
        assert torch.equal(got, put.to(got.dtype))


def test_packed_weights_are_what_the_kernel_multiplies_with() -> None:
    from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear

    weight = random_weight(64, 128, 3)
    scales, zeros = int4.ranges(weight, 32)
    scales = scales.half().float()
    codes = int4.codes_of(weight, scales, zeros)
    layer = AwqTorchLinear(
        bits=4,
        group_size=32,
        sym=False,
        desc_act=False,
        in_features=128,
        out_features=64,
        bias=False,
        register_buffers=True,
    )
    for name, tensor in int4.pack_awq(codes, scales, zeros).items():
        setattr(layer, name, tensor)
    layer.post_init()
    layer.eval()
    x = random_weight(3, 128, 4).half()
    expected = x.float() @ int4.decoded(codes, scales, zeros).t()
    torch.testing.assert_close(layer(x).float(), expected, rtol=2e-2, atol=2e-1)


def test_a_group_of_zeros_stays_zero() -> None:
    assert torch.equal(int4.round_to_nearest(torch.zeros(4, 32), 16), torch.zeros(4, 32))


def test_two_of_four_keeps_the_larger_two() -> None:
    weight = random_weight(8, 32, 1)
    pruned = two_of_four(weight).unflatten(1, (-1, 4))
    grouped = weight.unflatten(1, (-1, 4))
    assert ((pruned != 0).sum(2) == 2).all()
    smallest_kept = pruned.abs().masked_fill(pruned == 0, 99).amin(2)
    largest_gone = grouped.abs().masked_fill(pruned != 0, 0).amax(2)
    assert (smallest_kept >= largest_gone).all()


def test_eight_bits_err_by_half_a_step() -> None:
    weight = random_weight(8, 32, 2)
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((int8_to_nearest(weight) - weight).abs() <= step * 0.5001).all()


@pytest.mark.parametrize("bad", [24, 48])
def test_groups_that_do_not_fit_are_an_error(bad: int) -> None:
    with pytest.raises(RuntimeError):
        int4.ranges(torch.zeros(4, 64), bad)
