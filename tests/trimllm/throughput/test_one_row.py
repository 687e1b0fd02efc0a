"""The fast kernels for one row compute what the stock ones compute."""

from __future__ import annotations

import pytest
import torch
from models import FAMILIES, some_ids, tiny

from trimllm.sublayers.modeling_trimllm import decoder_of
from trimllm.throughput.build import (
    ATTENTION,
    MARGIN,
    attention,
    faster_kernel,
    linear_kernel,
    use_one_row_kernels,
)
from trimllm.throughput.worker import PRODUCTS, STEPS, Decoder


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
    use_one_row_kernels(model)
    assert model.config._attn_implementation == stock
    decoder = Decoder(model, 6, 2)
    decoder.prefill_seconds()
    assert decoder.kernel_seconds() == {} and faster_kernel({}) == "onednn"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_head_takes_the_last_row_without_a_copy_of_itself(
    family: str, dtype: torch.dtype
) -> None:
    model, ids = tiny(family).to(dtype), some_ids(1, 6)
    with torch.inference_mode():
        expected = model(ids).logits[:, -1:]
        use_one_row_kernels(model)
        seen = []
        model.get_output_embeddings().register_forward_hook(lambda _, args, out: seen.append(args))
        found = model(ids, logits_to_keep=1).logits
    row = seen[0][0]
    # torch copies the weight for any other strides
    assert row.shape[:2] == (1, 1) and row.stride(0) == row.shape[2]
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.05)


@pytest.mark.parametrize(
    "gain, kernel",
    [(0.5, "onednn"), (1.0, "onednn"), (0.99 * MARGIN, "onednn"), (1.01 * MARGIN, "native")],
)
def test_the_stock_kernel_stays_unless_the_other_is_clearly_faster(
    gain: float, kernel: str
) -> None:
    assert faster_kernel({"onednn": gain, "native": 1.0}) == kernel


def test_a_kernel_is_chosen_by_the_decoding_of_the_model_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    decoder = Decoder(tiny("llama").bfloat16(), 6, 4)
    decoder.prefill_seconds()
    seen: list[tuple[bool, int]] = []
    step = decoder.step

    def spy(ids: torch.Tensor, **how: object) -> object:
        seen.append((torch._C._get_mkldnn_enabled(), how["past_key_values"].get_seq_length()))
        return step(ids, **how)

    decoder.step = spy
    assert decoder.kernel_seconds().keys() == {"onednn", "native"}
    # in turns, each time the first token after the prompt
    assert seen == [(True, 6), (False, 6)] * (1 + STEPS)
    seen.clear()
    assert decoder.decode_seconds("native") > 0
    assert seen == [(False, 6 + number) for number in range(4)]


@pytest.mark.parametrize("family", FAMILIES)
def test_products_alone_are_those_of_all_linear_layers_and_the_head(family: str) -> None:
    """On what a decoded token gives them, and nothing else is changed by it."""
    model = tiny(family).bfloat16()
    decoder = Decoder(model, 6, 4)
    decoder.prefill_seconds()
    decoder.decode_seconds()
    decoded = torch.cat(decoder.decoded_ids).tolist()
    called: list[tuple[torch.nn.Module, torch.Tensor]] = []
    units = [m for m in decoder_of(model).layers.modules() if type(m) is torch.nn.Linear]
    layers = [*units, model.get_output_embeddings()]
    for layer in layers:
        layer.register_forward_hook(lambda module, args, out: called.append((module, args[0])))
    assert decoder.products_seconds() > 0
    passes = [called[at : at + len(layers)] for at in range(0, len(called), len(layers))]
    assert len(passes) == 1 + 1 + PRODUCTS  # the token's own, one that does not count
    (token, *alone), places = passes, [layer for layer, _ in passes[0]]
    assert {*places} == {*layers} and len({given.data_ptr() for _, given in token}) > 2
    for each in alone:
        assert [layer for layer, _ in each] == places
        assert all(one.equal(other) for (_, one), (_, other) in zip(token, each, strict=True))
    assert not any(layer._forward_pre_hooks for layer in units)
    decoder.decode_seconds()
    assert torch.cat(decoder.decoded_ids).tolist() == decoded
