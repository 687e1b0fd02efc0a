"""Models with random weights: the shape, the sublayers and the kernels of the subject."""

from dataclasses import replace

import pytest
import torch
from models import some_ids
from torch.utils.flop_counter import FlopCounterMode

from trimllm.base import kernels
from trimllm.sublayers import units
from trimllm.throughput import decode_worker
from trimllm.throughput.decode_worker import build, is_2_4, linears, pack_2_4, random_model, sizes
from trimllm.throughput.subject import KERNELS, Subject

LEFT = ((0, "attention"), (1, "mlp"), (2, "mlp"), (3, "attention"))
TINY = Subject(shape="llama-tiny", dtype="bfloat16", group_size=64)


@pytest.mark.parametrize("left", [None, LEFT])
def test_a_random_model_has_the_sublayers_and_the_sizes(left):
    model = random_model(replace(TINY, units=left, dtype="float32"))
    assert left is None or [tuple(unit) for unit in units(model)] == list(left)
    assert not any(p.isnan().any() for p in model.parameters())
    # Bytes are those of the stored tensors, cache and operations those of a real prompt.
    found = sizes(model, 48)
    assert (found["units_kept"], found["units_total"]) == (4 if left else 8, 8)
    stored = {name: value.nbytes for name, value in model.state_dict().items()}
    in_layers = sum(size for name, size in stored.items() if ".layers." in name)
    assert found["bytes"]["units"] == in_layers
    assert found["bytes"]["head"] == stored["lm_head.weight"] == found["bytes"]["embeddings"]
    cache = model(some_ids(1, 5), use_cache=True).past_key_values
    layers = [layer for layer in cache.layers if layer.is_initialized]
    real = sum(tensor.nbytes for layer in layers for tensor in (layer.keys, layer.values))
    assert found["kv_bytes_per_token"] == real / 5
    model.set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(some_ids(1, 48), use_cache=False, logits_to_keep=1)
    attentions = sum(unit.kind == "attention" for unit in units(model))
    # "eager" multiplies what the causal mask hides, too.
    hidden = 4 * attentions * model.config.hidden_size * 48 * 47 // 2
    expected = counter.get_total_flops() - hidden
    # torch counts the angles of the positions as a product.
    assert found["prefill_operations"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("compressor", KERNELS)
def test_compressed_models_run_and_weigh_less(compressor):
    kernels.prepare()
    pytest.importorskip(KERNELS[compressor])
    full = sizes(random_model(replace(TINY, units=LEFT)), 48)
    model = build(replace(TINY, units=LEFT, compressor=compressor))
    found = sizes(model, 48)
    assert found["prefill_operations"] == full["prefill_operations"]
    with torch.inference_mode():
        assert model(some_ids(1, 5)).logits.isfinite().all()
    share = found["bytes"]["units"] / full["bytes"]["units"]
    expected = {"sparsegpt_2_4": (1, 1), "llm_int8": (0.5, 0.54)}.get(compressor, (0.25, 0.32))
    assert expected[0] <= share <= expected[1]
    for part in ("embeddings", "head"):
        assert found["bytes"][part] == full["bytes"][part]
    linears = [m for m in model.model.layers.modules() if type(m) is torch.nn.Linear]
    assert all(is_2_4(m.weight) and m.weight.any() for m in linears)
    assert bool(linears) == (compressor == "sparsegpt_2_4")


def test_weights_that_are_2_4_are_packed_as_they_are(monkeypatch):
    model = random_model(TINY)
    dense, sparse, *_ = linears(model)
    # As SparseGPT leaves them: two of four anywhere, not the last two.
    with torch.no_grad():
        sparse.weight.view(sparse.out_features, -1, 4)[..., [1, 3]] = 0
    before = dense.weight, sparse.weight.clone()
    assert is_2_4(sparse.weight) and not is_2_4(dense.weight) and not is_2_4(torch.zeros(4, 6))
    # The packing itself needs a GPU.
    monkeypatch.setattr(decode_worker, "to_sparse_semi_structured", lambda weight: -weight.detach())
    pack_2_4(model)
    assert dense.weight is before[0] and torch.equal(sparse.weight, -before[1])
