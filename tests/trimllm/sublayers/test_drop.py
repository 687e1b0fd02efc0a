"""Contract of every family: dropping a sublayer is zeroing its output projection, no more."""

import copy
import random

import pytest
import torch
from models import FAMILIES, logits_of, some_ids, tiny, zero

from trimllm.base import names
from trimllm.base.errors import UserError
from trimllm.sublayers import Unit, drop, modeling_trimllm, original_units, unit_parameters, units

ALL = [Unit(block, kind) for block in range(5) for kind in ("attention", "mlp")]


def subsets() -> list[list[Unit]]:
    """Random subsets of several sizes, both ends, and all of one kind."""
    rng = random.Random(3)
    drawn = [sorted(rng.sample(ALL, size)) for size in (1, 5, 9)]
    return [*drawn, [ALL[0], ALL[-1]], ALL[::2], ALL[1::2]]


def test_every_family_has_a_tiny_model():
    assert set(FAMILIES) == set(modeling_trimllm.FAMILIES) == set(names.FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropped", subsets(), ids=lambda s: "-".join(map(str, s)))
def test_dropping_is_zeroing_the_output_projection(family, dropped):
    """At once or one by one; and generating with a cache is generating without."""
    full, ids = tiny(family), some_ids()
    expected = logits_of(zero(copy.deepcopy(full), dropped), ids)
    at_once, trimmed = drop(copy.deepcopy(full), dropped), copy.deepcopy(full)
    for unit in reversed(dropped):
        drop(trimmed, [unit])
    torch.testing.assert_close(logits_of(trimmed, ids), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits_of(at_once, ids), logits_of(trimmed, ids))
    assert units(trimmed) == [unit for unit in ALL if unit not in dropped]
    assert original_units(trimmed) == 10
    assert not torch.allclose(expected, logits_of(full, ids), atol=1e-3)
    settings = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    settings["attention_mask"] = torch.ones_like(ids)
    cached = trimmed.generate(ids, use_cache=True, **settings)
    assert cached.tolist() == trimmed.generate(ids, use_cache=False, **settings).tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_trimmed_model_trains_with_dropout_as_the_full_one(family):
    changed = {"phi3": {"resid_pdrop": 0.5}, "opt": {"dropout": 0.5}}.get(family, {})
    full = tiny(family, attention_dropout=0.5, **changed)
    logits = []
    for model in (zero(copy.deepcopy(full), [ALL[9]]), drop(full, [ALL[9]])):
        torch.manual_seed(0)
        logits.append(logits_of(model.train(), some_ids()))
    torch.testing.assert_close(*logits)


def test_the_packed_model_holds_only_kept_parameters_in_few_blocks():
    full = tiny("llama")
    # attention 0 pairs with mlp 1, attention 3 with mlp 4
    dropped = [ALL[1], ALL[2], ALL[4], ALL[5], ALL[7], ALL[8]]
    left = tiny("llama", dropped=dropped)
    assert len(left.model.layers) == left.config.num_hidden_layers == 2
    gone = sum(p.numel() for unit in dropped for p in unit_parameters(full)[unit])
    assert left.num_parameters() == full.num_parameters() - gone


def test_what_cannot_be_dropped_is_refused():
    model = drop(tiny("llama"), [ALL[3]])
    with pytest.raises(UserError, match=r"1\.mlp"):
        drop(model, [ALL[3]])
    with pytest.raises(UserError, match="all 9 sublayers"):
        drop(model, units(model))
    assert len(units(model)) == 9


@pytest.mark.parametrize(
    ("family", "name", "value", "reason"),
    [
        ("opt", "do_layer_norm_before", False, "normalizes after its sub"),
        ("qwen2", "layer_types", ["full_attention", "sliding_attention"], "mixes full_attention a"),
        ("llama", "model_type", "gpt_neox", "gpt_neox.*cannot be trimmed"),
    ],
)
def test_models_that_cannot_be_trimmed_are_refused(family, name, value, reason):
    model = tiny(family)
    setattr(model.config, name, value)
    with pytest.raises(UserError, match=reason):
        units(model)
