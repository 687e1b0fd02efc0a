"""Shapes count the parameters of the models that they describe; trimmed ones drop as asked."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from trimllm.base.errors import UserError
from trimllm.throughput.subject import SHAPES, kept_units, parameters


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_the_model(name):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPES[name]))
    assert parameters(name) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("kept_percent", [50, 40, 12.5])
def test_half_of_the_evenly_dropped_sublayers_are_attention(kept_percent):
    kept = kept_units(20, kept_percent)
    assert len({*kept}) == len(kept) == 40 * kept_percent / 100
    for kind in ("attention", "mlp"):
        places = [block for block, one in kept if one == kind]
        assert abs(len(places) - len(kept) / 2) <= 0.5
        assert abs(sum(block < 10 for block in places) - len(places) / 2) <= 0.5
    with pytest.raises(UserError, match="8 sublayers cannot keep 1%"):
        kept_units(4, 1)
