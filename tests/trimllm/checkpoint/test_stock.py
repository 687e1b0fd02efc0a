"""A trimmed model as a stock one: the same function, and nothing left of it after stripping."""

from __future__ import annotations

import pytest
import torch
from models import FAMILIES, logits_of, some_ids, tiny

from trimllm.checkpoint.stock import missing_modules, strip, to_stock
from trimllm.sublayers import Unit, drop

BLOCKS = 5
DROPPED = {
    "nothing": [],
    "ends": [Unit(0, "attention"), Unit(0, "mlp"), Unit(4, "attention"), Unit(4, "mlp")],
    "unpaired": [Unit(0, "mlp"), Unit(1, "mlp"), Unit(2, "attention"), Unit(3, "attention")],
    "all attention": [Unit(block, "attention") for block in range(BLOCKS)],
    "all mlp": [Unit(block, "mlp") for block in range(BLOCKS)],
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropped", DROPPED.values(), ids=DROPPED)
def test_the_stock_model_computes_the_same_with_the_same_weights(family, dropped) -> None:
    model = drop(tiny(family), dropped) if dropped else tiny(family)
    stock = to_stock(model)
    assert type(stock) is type(tiny(family)) and not hasattr(stock.config, "units")
    torch.testing.assert_close(
        logits_of(stock, some_ids()), logits_of(model, some_ids()), rtol=1e-5, atol=1e-5
    )
    stripped, expected = strip(stock.state_dict(), missing_modules(model)), model.state_dict()
    assert stripped.keys() == expected.keys()
    assert all(stripped[name].data_ptr() == expected[name].data_ptr() for name in expected)
