"""Shapes count their parameters as the models that they describe have them."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

from trimllm.base.errors import UserError
from trimllm.throughput.build import random_config
from trimllm.throughput.shapes import SHAPES, parameters, shape, unit_parameters
from trimllm.units import Unit
from trimllm.units import unit_parameters as of_model


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_the_model(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(random_config(name))
    assert parameters(name) == sum(p.numel() for p in model.parameters())
    sizes = {unit: sum(p.numel() for p in own) for unit, own in of_model(model).items()}
    for kind, count in unit_parameters(shape(name)).items():
        assert sizes[Unit(0, kind)] == count


def test_the_papers_model_has_its_published_size() -> None:
    assert parameters("llama-7b") == 6_738_415_616
    assert parameters("smollm2-135m") == 134_515_008


def test_unknown_shape() -> None:
    with pytest.raises(UserError, match=r"'llama-9b' is unknown \(there are: llama-7b"):
        shape("llama-9b")
