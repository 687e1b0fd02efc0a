"""Models with random weights: the shape, the sublayers and the kernels of the subject."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from models import some_ids, tiny, word_tokenizer
from torch.utils.flop_counter import FlopCounterMode

from trimllm.base.errors import UserError
from trimllm.checkpoint import save
from trimllm.sublayers import units
from trimllm.throughput import build as builder
from trimllm.throughput.build import build, is_2_4, mask, random_model, sparse
from trimllm.throughput.sizes import kv_bytes_per_token, prefill_operations, weight_bytes
from trimllm.throughput.subject import PACKAGES, Subject, shape_subject

LEFT = ((0, "attention"), (1, "mlp"), (2, "mlp"), (3, "attention"))
KERNELS = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(package) is None, reason=f"{package} is not installed"
        ),
    )
    for name, package in PACKAGES.items()
]


def subject(**changes: object) -> Subject:
    return Subject(**{"shape": "llama-tiny", "dtype": "bfloat16", **changes})


@pytest.mark.parametrize("left", [None, LEFT])
def test_a_random_model_has_the_sublayers_the_sizes_and_generates(left: tuple | None) -> None:
    model = random_model(subject(units=left, dtype="float32"))
    assert [tuple(unit) for unit in units(model)] == list(left or [tuple(u) for u in units(model)])
    assert len(units(model)) == (4 if left else 8)
    assert not any(p.isnan().any() for p in model.parameters())
    ids = some_ids(1, 5)
    made = [
        model.generate(ids, max_new_tokens=6, do_sample=False, use_cache=cache)
        for cache in (True, False)
    ]
    assert made[0].shape == (1, 11) and torch.equal(*made)
    # Bytes are those of the stored tensors, cache and operations those of a real prompt.
    stored = {name: value.nbytes for name, value in model.state_dict().items()}
    sizes = weight_bytes(model)
    assert sizes["units"] == sum(size for name, size in stored.items() if ".layers." in name)
    assert sizes["head"] == stored["lm_head.weight"] == sizes["embeddings"]
    cache = model(ids, use_cache=True).past_key_values
    layers = [layer for layer in cache.layers if layer.is_initialized]
    real = sum(tensor.nbytes for layer in layers for tensor in (layer.keys, layer.values))
    assert kv_bytes_per_token(model) == real / 5
    model.set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(some_ids(1, 48), use_cache=False, logits_to_keep=1)
    attentions = sum(unit.kind == "attention" for unit in units(model))
    # "eager" multiplies what the causal mask hides, too.
    hidden = 4 * attentions * model.config.hidden_size * 48 * 47 // 2
    expected = counter.get_total_flops() - hidden
    # torch counts the angles of the positions as a product.
    assert prefill_operations(model, 48) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("left", [None, LEFT])
@pytest.mark.parametrize("compressor", KERNELS)
def test_compressed_models_run_and_weigh_less(compressor: str, left: tuple | None) -> None:
    plain = random_model(subject(units=left))
    full = weight_bytes(plain)
    model = build(subject(units=left, compressor=compressor, group_size=64))
    sizes = weight_bytes(model)
    assert prefill_operations(model, 480) == prefill_operations(plain, 480)
    with torch.inference_mode():
        assert model(some_ids(1, 5)).logits.isfinite().all()
    share = sizes["units"] / full["units"]
    expected = {"sparsegpt_2_4": (1, 1), "llm_int8": (0.5, 0.54)}.get(compressor, (0.25, 0.32))
    assert expected[0] <= share <= expected[1]
    assert (sizes["embeddings"], sizes["head"]) == (full["embeddings"], full["head"])
    linears = [m for m in model.model.layers.modules() if type(m) is torch.nn.Linear]
    assert all(is_2_4(m.weight) and m.weight.any() for m in linears)
    assert bool(linears) == (compressor == "sparsegpt_2_4")


@pytest.mark.skipif(not importlib.util.find_spec("gptqmodel"), reason="gptqmodel is missing")
@pytest.mark.parametrize("symmetric", [False, True])
def test_int4_layers_are_symmetric_where_their_checkpoints_are(symmetric: bool) -> None:
    for compressor, expected in (("gptq_int4", symmetric), ("awq_int4", False)):
        options = {"compressor": compressor, "group_size": 64, "symmetric": symmetric}
        layers = build(subject(**options)).model.layers.modules()
        assert {layer.sym for layer in layers if hasattr(layer, "qweight")} == {expected}


def test_weights_that_are_2_4_are_packed_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    linear = torch.nn.Linear(16, 8)
    assert not is_2_4(linear.weight) and not is_2_4(torch.zeros(4, 6))
    # As SparseGPT leaves them: two of four anywhere, not the last two.
    with torch.no_grad():
        linear.weight.view(8, -1, 4)[..., [1, 3]] = 0
    assert is_2_4(linear.weight)
    before = linear.weight.clone()
    # The packing itself needs a GPU.
    monkeypatch.setattr(builder, "to_sparse_semi_structured", lambda weight: weight.detach())
    assert torch.equal(sparse(linear).weight, before)
    assert (mask(torch.nn.Linear(16, 8)).weight != 0).sum() == 64


def test_a_checkpoint_is_loaded_as_it_is(tmp_path: Path) -> None:
    model = tiny("llama")
    save(model, word_tokenizer(), tmp_path / "model")
    loaded = build(Subject(checkpoint=str(tmp_path / "model"), dtype="float32"))
    torch.testing.assert_close(loaded(some_ids()).logits, model(some_ids()).logits)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"shape": "llama-9b"}, "shape 'llama-9b' is unknown"),
        ({"checkpoint": "x"}, "a checkpoint or a shape, and not both"),
        ({"shape": None, "checkpoint": "nowhere"}, "nowhere is no checkpoint"),
        ({"compressor": "llm_pruner"}, "'llm_pruner' cannot be timed on random weights"),
        ({"dtype": "int8"}, "dtype 'int8' is none of"),
        ({"shape": "smollm2-135m", "compressor": "awq_int4"}, "128 does not divide .* 576"),
        ({"compressor": "gptq_int4", "missing": True}, "gptq_int4 runs on kernels of gptqmodel"),
    ],
)
def test_mistakes_in_one_line(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], words: str
) -> None:
    missing = changes.pop("missing", False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if missing else name)
    with pytest.raises(UserError, match=words) as error:
        subject(**changes).check()
    assert "\n" not in str(error.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(UserError, match="no usable GPU"):
        build(subject(device="cuda"))


def test_a_subject_survives_json() -> None:
    one = shape_subject("llama-1b", 0.5, 40, "awq_int4", threads=2)
    assert Subject(**json.loads(json.dumps(asdict(one)))) == one
    assert str(one) == "shape llama-1b + awq_int4"
    assert (len(one.units), one.threads, shape_subject("llama-1b").units) == (18, 2, None)
    with pytest.raises(UserError, match="44 units is no number of units"):
        shape_subject("llama-1b", 0.5, 0)
