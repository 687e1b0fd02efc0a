"""Weights are rounded, and nothing else is."""

import pytest
import torch
from models import FAMILIES, tiny

from trimllm.base.precision import round_weights_, rounded_copy


@pytest.mark.parametrize("family", FAMILIES)
def test_rounding_leaves_rotary_frequencies_and_ties_alone(family):
    model, original = tiny(family), tiny(family)
    copied = rounded_copy(model, torch.bfloat16)
    for rounded in (copied, round_weights_(tiny(family), torch.bfloat16)):
        assert rounded.dtype == torch.bfloat16
        for name, weight in rounded.named_parameters():
            assert torch.equal(weight, original.get_parameter(name).bfloat16())
        for name, buffer in rounded.named_buffers():
            assert torch.equal(buffer, original.get_buffer(name)), name
        tied = model.config.tie_word_embeddings
        embeddings, head = rounded.get_input_embeddings(), rounded.get_output_embeddings()
        assert (embeddings.weight is head.weight) == tied
    # the copy shares nothing with what it was made from
    for name, weight in model.named_parameters():
        assert torch.equal(weight, original.get_parameter(name))
        assert weight.data_ptr() != copied.get_parameter(name).data_ptr()
