"""Models with random weights: the shape, the units and the kernels that were asked for."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict

import pytest
import torch
from models import some_ids, tiny, word_tokenizer
from torch.utils.flop_counter import FlopCounterMode

from trimllm.base.errors import UserError
from trimllm.checkpoint import save
from trimllm.sublayers import units
from trimllm.throughput.build import build, is_2_4, masked, random_model
from trimllm.throughput.subject import PACKAGES, Subject, shape_subject
from trimllm.throughput.worker import kv_bytes_per_token, prefill_operations, weight_bytes

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
def test_random_model_has_the_units_and_generates(left: tuple | None) -> None:
    model = random_model(subject(units=left, dtype="float32"))
    assert [tuple(unit) for unit in units(model)] == list(left or [tuple(u) for u in units(model)])
    assert len(units(model)) == (4 if left else 8)
    ids = some_ids(1, 5)
    found = {
        cache: model.generate(ids, max_new_tokens=6, do_sample=False, use_cache=cache)
        for cache in (True, False)
    }
    assert found[True].shape == (1, 11) and torch.equal(found[True], found[False])


@pytest.mark.parametrize("left", [None, LEFT])
@pytest.mark.parametrize("compressor", KERNELS)
def test_compressed_models_run_and_weigh_less(compressor: str, left: tuple | None) -> None:
    full = weight_bytes(random_model(subject(units=left)))
    model = build(subject(units=left, compressor=compressor, group_size=64))
    sizes = weight_bytes(model)
    with torch.inference_mode():
        assert model(some_ids(1, 5)).logits.isfinite().all()
    share = sizes["units"] / full["units"]
    expected = {"sparsegpt_2_4": (1, 1), "llm_int8": (0.5, 0.54)}.get(compressor, (0.25, 0.32))
    assert expected[0] <= share <= expected[1]
    assert (sizes["embeddings"], sizes["head"]) == (full["embeddings"], full["head"])
    linears = [m for m in model.model.layers.modules() if type(m) is torch.nn.Linear]
    assert all(is_2_4(m.weight) for m in linears)
    assert bool(linears) == (compressor == "sparsegpt_2_4")


@pytest.mark.skipif(not importlib.util.find_spec("gptqmodel"), reason="gptqmodel is missing")
@pytest.mark.parametrize("symmetric", [False, True])
def test_int4_layers_are_symmetric_where_their_checkpoints_are(symmetric: bool) -> None:
    for compressor, expected in (("gptq_int4", symmetric), ("awq_int4", False)):
        how = {"compressor": compressor, "group_size": 64, "symmetric": symmetric}
        layers = build(subject(**how)).model.layers.modules()
        assert {layer.sym for layer in layers if hasattr(layer, "qweight")} == {expected}


def test_mask_and_its_test() -> None:
    linear = torch.nn.Linear(16, 8)
    assert not is_2_4(linear.weight) and is_2_4(masked(linear).weight)
    assert (linear.weight != 0).sum() == linear.weight.numel() / 2
    assert not is_2_4(torch.zeros(4, 6))


def test_bytes_are_those_of_the_stored_tensors() -> None:
    model = random_model(subject(units=LEFT))
    sizes = weight_bytes(model)
    stored = {name: v.numel() * v.element_size() for name, v in model.state_dict().items()}
    assert sizes["units"] == sum(size for name, size in stored.items() if ".layers." in name)
    assert sizes["head"] == stored["lm_head.weight"] == sizes["embeddings"]
    tied = weight_bytes(random_model(Subject(shape="smollm2-135m", units=LEFT)))
    assert tied["head"] == 0 and tied["embeddings"] == 49152 * 576 * 2


def test_planned_bytes_are_the_real_ones() -> None:
    for left in (None, LEFT):
        planned = subject(units=left)
        real = sum(weight_bytes(random_model(planned)).values())
        assert planned.weight_bytes() == pytest.approx(real, rel=0.01)


@pytest.mark.parametrize("left", [None, LEFT])
def test_cache_bytes_are_those_of_a_real_cache(left: tuple | None) -> None:
    model = random_model(subject(units=left))
    with torch.inference_mode():
        cache = model(some_ids(1, 7), use_cache=True).past_key_values
    layers = [layer for layer in cache.layers if layer.is_initialized]
    real = sum(t.numel() * t.element_size() for la in layers for t in (la.keys, la.values))
    assert kv_bytes_per_token(model) == real / 7


@pytest.mark.parametrize("left", [None, LEFT])
def test_operations_are_those_that_torch_counts(left: tuple | None) -> None:
    model, prompt = random_model(subject(units=left, dtype="float32")), 48
    model.set_attn_implementation("eager")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(some_ids(1, prompt), use_cache=False, logits_to_keep=1)
    attentions = sum(unit.kind == "attention" for unit in units(model))
    # "eager" multiplies what the causal mask hides, too
    hidden = 4 * attentions * model.config.hidden_size * prompt * (prompt - 1) // 2
    expected = counter.get_total_flops() - hidden
    # torch counts the angles of the positions as a product
    assert prefill_operations(model, prompt) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("compressor", KERNELS)
def test_compression_changes_no_operations(compressor: str) -> None:
    plain = random_model(subject(units=LEFT))
    model = build(subject(units=LEFT, compressor=compressor, group_size=64))
    assert prefill_operations(model, 480) == prefill_operations(plain, 480)


def test_a_checkpoint_is_loaded_as_it_is(tmp_path: object) -> None:
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
    ],
)
def test_mistakes_in_one_line(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], words: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(UserError, match=words) as error:
        subject(**changes).check()
    assert "\n" not in str(error.value)


def test_a_missing_kernel_is_told_before_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="gptq_int4 runs on kernels of gptqmodel, which is not"):
        subject(compressor="gptq_int4").check()


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(UserError, match="no usable GPU"):
        build(subject(device="cuda"))


def test_a_subject_survives_json() -> None:
    one = subject(units=LEFT, compressor="llm_int8")
    assert Subject(**json.loads(json.dumps(asdict(one)))) == one
    assert str(one) == "shape llama-tiny + llm_int8"


def test_a_shape_trimmed_by_a_pattern() -> None:
    one = shape_subject("llama-1b", 0.5, 40, "awq_int4", threads=2)
    assert (len(one.units), one.compressor, one.threads) == (18, "awq_int4", 2)
    assert shape_subject("llama-1b").units is None
    with pytest.raises(UserError, match="44 units is no number of units"):
        shape_subject("llama-1b", 0.5, 0)
