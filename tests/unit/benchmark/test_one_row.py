"""The fast kernels for one row compute what the stock ones compute."""

from __future__ import annotations

import pytest
import torch
from models import FAMILIES, some_ids, tiny

from trimllm.benchmark.one_row import ATTENTION, attention, linear_kernel, use_one_row_kernels


@pytest.mark.parametrize("heads, kv_heads", [(4, 2), (4, 4), (8, 1)])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_attention_of_one_query_is_torchs(heads: int, kv_heads: int, scaling: float | None) -> None:
    torch.manual_seed(0)
    query = torch.randn(2, heads, 1, 16)
    key, value = torch.randn(2, 2, kv_heads, 9, 16)
    found, _ = attention(None, query, key, value, None, scaling=scaling)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, scale=scaling, enable_gqa=True
    )
    torch.testing.assert_close(found, expected.transpose(1, 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_decoding_with_it_is_decoding_without(family: str) -> None:
    model = tiny(family).bfloat16()
    ids = some_ids(1, 6)
    with torch.inference_mode():
        stock = model.generate(
            ids, max_new_tokens=1, do_sample=False, output_logits=True, return_dict_in_generate=True
        ).logits[0]
        before = model(ids, use_cache=True)
        step = ids[:, -1:]
        plain = model(step, past_key_values=before.past_key_values, use_cache=True).logits
        use_one_row_kernels(model)
        assert model.config._attn_implementation == ATTENTION
        before = model(ids, use_cache=True)
        fast = model(step, past_key_values=before.past_key_values, use_cache=True).logits
    assert stock.isfinite().all()
    torch.testing.assert_close(fast, plain, atol=0.1, rtol=0.05)


def test_the_setting_is_put_back_even_after_an_error() -> None:
    before = torch._C._get_mkldnn_enabled()
    with pytest.raises(ZeroDivisionError), linear_kernel("native"):
        assert not torch._C._get_mkldnn_enabled()
        raise ZeroDivisionError
    assert torch._C._get_mkldnn_enabled() == before


def test_float32_keeps_the_stock_kernels() -> None:
    model = tiny("llama")
    stock = model.config._attn_implementation
    assert use_one_row_kernels(model) == "onednn"
    assert model.config._attn_implementation == stock
