"""Dropping a unit is zeroing its output projection; nothing else changes."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from models import FAMILIES, logits_of, some_ids, tiny, zero

from trimllm.base.errors import UserError
from trimllm.sublayers import Unit, drop, original_units, unit_parameters, units

ALL = [Unit(block, kind) for block in range(5) for kind in ("attention", "mlp")]


def subsets() -> list[list[Unit]]:
    """Random subsets of every size, the first, the last, and both; one without attention."""
    rng = random.Random(3)
    drawn = [sorted(rng.sample(ALL, size)) for size in (1, 2, 3, 5, 7, 9)]
    ends = [[ALL[0]], [ALL[-1]], [ALL[0], ALL[-1]], ALL[1:5], ALL[:3]]
    return drawn + ends + [ALL[::2], ALL[1::2]]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropped", subsets(), ids=lambda s: "-".join(map(str, s)))
def test_dropping_is_zeroing_the_output_projection(family: str, dropped: list[Unit]) -> None:
    full = tiny(family)
    ids = some_ids()
    expected = logits_of(zero(copy.deepcopy(full), dropped), ids)
    trimmed = drop(copy.deepcopy(full), dropped)
    torch.testing.assert_close(logits_of(trimmed, ids), expected, rtol=1e-5, atol=1e-5)
    assert units(trimmed) == [unit for unit in ALL if unit not in dropped]
    assert original_units(trimmed) == 10
    assert not torch.allclose(expected, logits_of(full, ids), atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dropped", subsets(), ids=lambda s: "-".join(map(str, s)))
def test_generate_with_cache_is_generate_without(family: str, dropped: list[Unit]) -> None:
    trimmed = drop(tiny(family), dropped)
    ids = some_ids(rows=1)
    settings = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    settings["attention_mask"] = torch.ones_like(ids)
    cached = trimmed.generate(ids, use_cache=True, **settings)
    assert cached.tolist() == trimmed.generate(ids, use_cache=False, **settings).tolist()


# (transformers itself cannot cut back a cache that is full to its window.)
@pytest.mark.parametrize("family", ["llama", "opt"])
@pytest.mark.parametrize("dropped", subsets()[::3], ids=lambda s: "-".join(map(str, s)))
def test_a_trimmed_draft_changes_no_greedy_answer(family: str, dropped: list[Unit]) -> None:
    full = tiny(family)
    draft, ids = drop(copy.deepcopy(full), dropped), some_ids(rows=1)
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": []}
    settings["attention_mask"] = torch.ones_like(ids)
    helped = full.generate(ids, assistant_model=draft, **settings)
    assert helped.tolist() == full.generate(ids, **settings).tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_dropping_one_by_one_is_dropping_at_once(family: str) -> None:
    dropped = [ALL[7], ALL[0], ALL[4], ALL[9]]
    at_once, stepwise = drop(tiny(family), dropped), tiny(family)
    for unit in dropped:
        drop(stepwise, [unit])
    ids = some_ids()
    assert torch.equal(logits_of(at_once, ids), logits_of(stepwise, ids))


def test_the_packed_model_holds_only_surviving_parameters_and_few_blocks() -> None:
    model = tiny("llama")
    sizes = {u: sum(p.numel() for p in ps) for u, ps in unit_parameters(model).items()}
    before = sum(p.numel() for p in model.parameters())
    # attention 0 pairs with mlp 1, attention 3 with mlp 4
    dropped = [ALL[1], ALL[2], ALL[4], ALL[5], ALL[7], ALL[8]]
    drop(model, dropped)
    assert len(model.model.layers) == model.config.num_hidden_layers == 2
    after = sum(p.numel() for p in model.parameters())
    assert after == before - sum(sizes[unit] for unit in dropped)


def test_a_unit_that_is_not_there_and_an_empty_model_are_refused() -> None:
    model = drop(tiny("llama"), [ALL[3]])
    with pytest.raises(UserError, match=r"1\.mlp"):
        drop(model, [ALL[3]])
    with pytest.raises(UserError, match="all 9 units"):
        drop(model, units(model))
    assert len(units(model)) == 9


def test_models_whose_sublayers_are_no_units_are_refused() -> None:
    model = tiny("opt")
    model.config.do_layer_norm_before = False
    with pytest.raises(UserError, match="no units"):
        units(model)
    model = tiny("qwen2")
    model.config.layer_types[0] = "full_attention"
    with pytest.raises(UserError, match="mixes full_attention and sliding_attention"):
        units(model)
    model = tiny("llama")
    model.config.__class__ = type("Other", (type(model.config),), {"model_type": "gpt_neox"})
    with pytest.raises(UserError, match="gpt_neox.*no adapter"):
        units(model)
