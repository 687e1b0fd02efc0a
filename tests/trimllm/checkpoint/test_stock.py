"""A trimmed model as a stock one: the same function, and nothing left of it after stripping."""

import pytest
import torch
from models import DROPPED, FAMILIES, logits_of, some_ids, tiny

from trimllm.checkpoint.stock import missing_modules, strip, to_stock


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropped", DROPPED.values(), ids=DROPPED)
def test_the_stock_model_computes_the_same_with_the_same_weights(family, dropped):
    model = tiny(family, dropped=dropped)
    stock = to_stock(model)
    assert type(stock) is type(tiny(family)) and not hasattr(stock.config, "units")
    torch.testing.assert_close(
        logits_of(stock, some_ids()), logits_of(model, some_ids()), rtol=1e-5, atol=1e-5
    )
    stripped, expected = strip(stock.state_dict(), missing_modules(model)), model.state_dict()
    assert stripped.keys() == expected.keys()
    assert all(stripped[name].data_ptr() == expected[name].data_ptr() for name in expected)
