"""Structured pruning: what is kept, and that what is cut is what was chosen."""

from __future__ import annotations

import copy

import pytest
import torch
from models import FAMILIES, logits_of, some_ids, tiny

from trimllm.base.errors import UserError
from trimllm.compress import llm_pruner
from trimllm.sublayers import Unit, drop, unit_layers, unit_parameters, units

CUT = [family for family in FAMILIES if family != "phi3"]
TRIMS = {
    "whole": [],
    "unpaired ends": [Unit(0, "attention"), Unit(1, "mlp"), Unit(2, "attention"), Unit(4, "mlp")],
}


def trimmed(family: str, dropped: list[Unit]) -> torch.nn.Module:
    model = tiny(family, mlp_width=128)
    return drop(model, dropped) if dropped else model


def size(model: torch.nn.Module) -> int:
    return sum(p.numel() for ps in unit_parameters(model).values() for p in ps)


def by_first_layer(sides: list[llm_pruner.Side]) -> torch.Tensor:
    """Some importance that is different for all structures."""
    side = sides[0]
    rows = side.linear.weight.detach().abs().sum(1)
    return torch.zeros(int(side.owner.max()) + 1).index_add(0, side.owner, rows)


@pytest.mark.parametrize("dropped", TRIMS.values(), ids=TRIMS)
@pytest.mark.parametrize("family", CUT)
def test_units_keep_the_planned_share(family: str, dropped: list[Unit]) -> None:
    model = trimmed(family, dropped)
    before, plan = size(model), llm_pruner.plan(model, 0.5)
    llm_pruner.cut(model, plan, by_first_layer)
    # norms and biases of the hidden width are not cut
    assert size(model) / before == pytest.approx(plan.share, abs=0.03)
    assert 0.4 < size(model) / before < 0.55


@pytest.mark.parametrize("dropped", TRIMS.values(), ids=TRIMS)
@pytest.mark.parametrize("family", CUT)
def test_cutting_is_silencing_the_least_important(family: str, dropped: list[Unit]) -> None:
    model = trimmed(family, dropped)
    silenced, plan = copy.deepcopy(model), llm_pruner.plan(model, 0.5)
    with torch.no_grad():
        for unit, layer in unit_layers(silenced):
            sides = llm_pruner.structures(silenced, layer, unit.kind)
            score = by_first_layer(sides)
            keep = plan.heads if unit.kind == "attention" else plan.channels
            gone = set(score.argsort()[: len(score) - keep].tolist())
            out = sides[-1]
            columns = [at for at, owner in enumerate(out.owner.tolist()) if owner in gone]
            out.linear.weight[:, columns] = 0
    llm_pruner.cut(model, plan, by_first_layer)
    torch.testing.assert_close(
        logits_of(model, some_ids()), logits_of(silenced, some_ids()), rtol=1e-4, atol=1e-4
    )
    assert units(model) == units(silenced)


@pytest.mark.parametrize("family", CUT)
def test_importance_is_the_sum_over_a_structures_weights(family: str) -> None:
    model = tiny(family)
    llm_pruner.gradients(model, some_ids().tolist())
    unit, layer = unit_layers(model)[0]
    sides = llm_pruner.structures(model, layer, unit.kind)
    found = llm_pruner.taylor(sides)
    expected = torch.zeros_like(found)
    for side in sides:
        product = (side.linear.weight * side.linear.weight.grad).abs().detach()
        expected.index_add_(0, side.owner, product.sum(0 if side is sides[-1] else 1))
    torch.testing.assert_close(found, expected)
    assert (found > 0).all()


@pytest.mark.parametrize("at_once", [1, 8])
@pytest.mark.parametrize("family", CUT)
def test_gradients_of_texts_together_are_the_sum_of_each_alone(
    family: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm_pruner, "has_bfloat16", lambda: False)
    monkeypatch.setattr(llm_pruner, "TEXTS_AT_ONCE", at_once)
    model = tiny(family)
    ids = some_ids().flatten().tolist()
    # of many lengths, more than run at once, and one that has nothing to predict
    texts = [ids[at : at + 2 + at % 5] for at in range(11)] + [[1]]
    llm_pruner.gradients(model, texts)
    weights = [p for parameters in unit_parameters(model).values() for p in parameters]
    found = [weight.grad.clone() for weight in weights]
    model.zero_grad()
    for text in texts[:-1]:
        row = torch.tensor([text])
        model(row, labels=row).loss.backward()
    torch.testing.assert_close(found, [weight.grad for weight in weights], rtol=1e-3, atol=1e-5)


def test_a_share_that_cannot_be_reached_is_refused() -> None:
    model = drop(tiny("opt"), [Unit(block, "mlp") for block in range(4)])
    with pytest.raises(UserError, match="cannot lose heads"):
        llm_pruner.plan(model, 0.5)


def test_joined_projections_are_refused() -> None:
    with pytest.raises(UserError, match="cannot cut Phi-3's joined projections"):
        llm_pruner.plan(tiny("phi3"), 0.5)
