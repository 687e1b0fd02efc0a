"""A trimmed model as a stock one: the same function, and nothing left of it after stripping."""

from __future__ import annotations

import pytest
import torch
from models import FAMILIES, logits_of, some_ids, tiny
from transformers import AutoModelForCausalLM

from trimllm.checkpoint.stock import missing_modules, strip, to_stock
from trimllm.sublayers import Unit, drop

BLOCKS = 5
DROPPED = {
    "nothing": [],
    "first": [Unit(0, "attention")],
    "last": [Unit(BLOCKS - 1, "mlp")],
    "ends": [Unit(0, "attention"), Unit(0, "mlp"), Unit(4, "attention"), Unit(4, "mlp")],
    "unpaired": [Unit(0, "mlp"), Unit(1, "mlp"), Unit(2, "attention"), Unit(3, "attention")],
    "all attention": [Unit(block, "attention") for block in range(BLOCKS)],
    "all mlp": [Unit(block, "mlp") for block in range(BLOCKS)],
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropped", DROPPED.values(), ids=DROPPED)
def test_the_stock_model_computes_the_same(family: str, dropped: list[Unit]) -> None:
    model = drop(tiny(family), dropped) if dropped else tiny(family)
    stock = to_stock(model)
    assert type(stock) is type(tiny(family)) and not hasattr(stock.config, "units")
    torch.testing.assert_close(
        logits_of(stock, some_ids()), logits_of(model, some_ids()), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropped", DROPPED.values(), ids=DROPPED)
def test_stripping_gives_the_trimmed_state_back(family: str, dropped: list[Unit]) -> None:
    model = drop(tiny(family), dropped) if dropped else tiny(family)
    expected = model.state_dict()
    found = strip(to_stock(model).state_dict(), missing_modules(model))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_weights_exist_once(family: str) -> None:
    model = drop(tiny(family), DROPPED["unpaired"])
    stock = to_stock(model).state_dict()
    for name, tensor in model.state_dict().items():
        assert stock[name].data_ptr() == tensor.data_ptr(), name


def test_stock_classes_load_what_a_stock_model_saves(tmp_path) -> None:
    model = drop(tiny("llama"), DROPPED["ends"])
    to_stock(model).save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(loaded).__name__ == "LlamaForCausalLM"
    torch.testing.assert_close(
        logits_of(loaded, some_ids()), logits_of(model, some_ids()), rtol=1e-5, atol=1e-5
    )
