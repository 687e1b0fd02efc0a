"""Folding a dropped unit into the one before it, against ridge regression by least squares."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from models import FAMILIES, random_documents, tiny, word_tokenizer

from trimllm.base.errors import UserError
from trimllm.checkpoint import load_streamed, save
from trimllm.fold import RIDGE, fold
from trimllm.sublayers import Unit, adapter_of, drop, unit_layers, units
from trimllm.train.batching import examples_of

documents = partial(random_documents, longest=7)


def tokens_of(model: torch.nn.Module, before: Unit, unit: Unit) -> tuple[torch.Tensor, ...]:
    """What goes into the projection of `before`, and what `unit` adds, a row a token."""
    adapter, layers = adapter_of(model), dict(unit_layers(model))
    rows: dict[str, list[torch.Tensor]] = {"z": [], "f": []}
    one = adapter.output_projection(layers[before], before.kind)
    two = adapter.output_projection(layers[unit], unit.kind)
    hooks = [
        one.register_forward_hook(lambda m, i, o: rows["z"].append(i[0].flatten(0, -2))),
        two.register_forward_hook(lambda m, i, o: rows["f"].append(o.flatten(0, -2))),
    ]
    with torch.no_grad():
        for example in examples_of(word_tokenizer(), documents(9)):
            model(torch.tensor([(example.prompt + example.answer)[:-1]]))
    for hook in hooks:
        hook.remove()
    return torch.cat(rows["z"]).double(), torch.cat(rows["f"]).double()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("unit", [Unit(2, "attention"), Unit(3, "mlp")])
def test_folding_is_ridge_regression(family: str, unit: Unit) -> None:
    model = tiny(family)
    order = units(model)
    before = order[order.index(unit) - 1]
    z, f = tokens_of(model, before, unit)
    # Least squares on the data and on as many further rows, which ask for small weights.
    ridge = float(RIDGE * z.square().sum() / z.shape[1])
    more = torch.cat([z, ridge**0.5 * torch.eye(z.shape[1], dtype=torch.double)])
    wanted = torch.cat([f, torch.zeros(z.shape[1], f.shape[1], dtype=torch.double)])
    solved = torch.linalg.lstsq(more, wanted).solution.T
    adapter, layers = adapter_of(model), dict(unit_layers(model))
    projection = adapter.output_projection(layers[before], before.kind)
    expected = projection.weight.detach() + solved.float()
    explained = fold(model, word_tokenizer(), [unit], documents(9))
    torch.testing.assert_close(projection.weight.detach(), expected, rtol=1e-4, atol=1e-5)
    assert unit not in units(model)
    left = (f - z @ solved.T).square().sum() / f.square().sum()
    assert explained[unit] == pytest.approx(1 - float(left), abs=1e-6) and explained[unit] > 0


def test_nothing_but_the_projection_before_changes() -> None:
    model, plain = tiny("llama"), drop(tiny("llama"), [Unit(2, "mlp"), Unit(4, "attention")])
    fold(model, word_tokenizer(), [Unit(4, "attention"), Unit(2, "mlp")], documents(9))
    other = plain.state_dict()
    changed = {name for name, value in model.state_dict().items() if not value.equal(other[name])}
    assert units(model) == units(plain)
    assert changed == {
        "model.layers.2.self_attn.o_proj.weight",
        "model.layers.3.mlp.down_proj.weight",
    }


def test_what_the_unit_before_can_say_is_kept_exactly() -> None:
    """A unit whose output is linear in the input of the projection before it is no loss."""
    model = tiny("llama")
    layers = dict(unit_layers(model))
    keeper = layers[Unit(1, "attention")].self_attn.o_proj
    given: dict[str, torch.Tensor] = {}
    keeper.register_forward_hook(lambda m, inputs, o: given.update(z=inputs[0]))
    matrix = torch.randn(32, 32) / 8
    mlp = layers[Unit(1, "mlp")].mlp.down_proj
    mlp.register_forward_hook(lambda m, i, o: given["z"] @ matrix.T)
    ids = torch.tensor([e.prompt + e.answer for e in examples_of(word_tokenizer(), documents(1))])
    with torch.no_grad():
        before = model(ids).logits
        dropped = copy.deepcopy(model)
        explained = fold(model, word_tokenizer(), [Unit(1, "mlp")], documents(60))
        folded, plain = model(ids).logits, drop(dropped, [Unit(1, "mlp")])(ids).logits
    assert explained[Unit(1, "mlp")] > 0.9
    assert (folded - before).norm() < 0.3 * (plain - before).norm()


def test_the_first_unit_has_none_before_it(tmp_path) -> None:
    model = tiny("llama")
    assert fold(model, word_tokenizer(), [Unit(0, "attention")], documents(3)) == {
        Unit(0, "attention"): None
    }
    streamed, _ = load_streamed(save(tiny("llama"), word_tokenizer(), tmp_path / "x"))
    with pytest.raises(UserError, match="weights_on: device"):
        fold(streamed, word_tokenizer(), [Unit(1, "mlp")], documents(3))
