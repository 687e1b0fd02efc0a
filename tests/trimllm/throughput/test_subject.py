"""Shapes count the parameters of the models that they describe; patterns drop as many as asked."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig

from trimllm.base.errors import UserError
from trimllm.throughput.subject import SHAPES, kept_units, parameters, spread


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_the_model(name):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPES[name]))
    assert parameters(name) == sum(p.numel() for p in model.parameters())


@given(st.integers(1, 40), st.floats(0, 1), st.data())
def test_spread_drops_the_share_of_attention(blocks, share, data):
    drops = data.draw(st.integers(0, 2 * blocks - 1))
    gone = spread(blocks, drops, share)
    assert len(set(gone)) == len(gone) == drops
    assert all(0 <= block < blocks for block, _ in gone)


def test_spread_is_even():
    gone = spread(22, 20, 0.25)
    assert sum(kind == "attention" for _, kind in gone) == 5
    places = [block for block, kind in spread(22, 22, 0.5) if kind == "mlp"]
    assert places == list(range(1, 22, 2))


def test_a_fraction_between_two_numbers_of_sublayers_is_refused():
    assert len(kept_units(22, 50, 0.5)) == 22
    with pytest.raises(UserError, match="8 sublayers cannot keep 1%"):
        kept_units(4, 1, 0.5)
