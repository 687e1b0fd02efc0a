"""The one-pass scan finds what dropping each unit in turn finds."""

from __future__ import annotations

import copy

import pytest
import torch
from models import FAMILIES, random_documents, tiny, word_tokenizer
from torch.utils.flop_counter import FlopCounterMode

import trimllm
from trimllm.base.errors import UserError
from trimllm.base.precision import rounded_copy
from trimllm.data import Document
from trimllm.scanning import scan
from trimllm.score import forward, score
from trimllm.sublayers import Unit, drop, unit_layers, units


def one_by_one(model: torch.nn.Module, docs: list[Document]) -> dict[Unit | None, tuple]:
    """(right answers, mean likelihood) with each unit dropped, and with none (None)."""
    found = {}
    for unit in [None, *units(model)]:
        copied = copy.deepcopy(model)
        if unit:
            drop(copied, [unit])
        scored = score(copied, word_tokenizer(), docs)
        pairs = list(zip(docs, scored, strict=True))
        right = sum(s.best == d.answer for d, s in pairs)
        logs = [torch.tensor(s.log_likelihoods).log_softmax(0)[d.answer] for d, s in pairs]
        found[unit] = right, float(torch.stack(logs).mean())
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("row_budget", [1, 150, 100_000])
@pytest.mark.parametrize("trimmed", [False, True])
def test_scan_is_exhaustive_dropping(
    family: str, row_budget: int, trimmed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "CPU_TOKENS", 64)
    model, docs = tiny(family), random_documents(9)
    if trimmed:
        drop(model, [Unit(0, "attention"), Unit(2, "mlp"), Unit(4, "mlp")])
    found = scan(model, word_tokenizer(), docs, row_budget=row_budget)
    expected = one_by_one(model, docs)
    assert list(found.correct) == units(model)
    for unit in units(model):
        assert found.correct[unit] == expected[unit][0]
        assert found.accuracy[unit] == pytest.approx(100 * expected[unit][0] / 9)
        assert found.likelihood[unit] == pytest.approx(expected[unit][1], abs=1e-4)
    assert found.baseline == pytest.approx(100 * expected[None][0] / 9)
    assert found.baseline_likelihood == pytest.approx(expected[None][1], abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_are_what_the_units_add_to_the_stream(family: str) -> None:
    """Against hooks on the stock model, with one-token choices, where rows are plain prompts."""
    model, tokenizer = tiny(family), word_tokenizer()
    docs = [Document(d.prompt, (" w1", " w2"), 0) for d in random_documents(4)]
    expected = dict.fromkeys(units(model), 0.0)
    for document in docs:
        inputs, handles = {}, []

        def note(unit: Unit, output: object, into: dict[Unit, float]) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            into[unit] = float(tensor.float().norm())

        for unit, layer in unit_layers(model):
            name = {"attention": "self_attn", "mlp": "fc2" if family == "opt" else "mlp"}
            module = layer.get_submodule(name[unit.kind])
            handles.append(
                module.register_forward_hook(
                    lambda m, a, o, unit=unit, inputs=inputs: note(unit, o, inputs)
                )
            )
        with torch.no_grad():
            model(torch.tensor([tokenizer.encode(document.prompt)]))
        for handle in handles:
            handle.remove()
        for unit, value in inputs.items():
            expected[unit] += value / len(docs)
    found = scan(model, tokenizer, docs).norm
    for unit, value in expected.items():
        assert found[unit] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("row_budget", [1, 8192])
def test_a_scan_of_some_candidates_has_their_scores_and_all_norms(row_budget: int) -> None:
    model, docs = tiny("llama"), random_documents(9)
    some = [Unit(1, "mlp"), Unit(3, "attention"), Unit(4, "mlp")]
    every = scan(model, word_tokenizer(), docs)
    found = scan(model, word_tokenizer(), docs, candidates=some, row_budget=row_budget)
    assert found.scored == list(found.correct) == list(found.likelihood) == some
    for unit in some:
        assert found.correct[unit] == every.correct[unit]
        assert found.likelihood[unit] == pytest.approx(every.likelihood[unit], abs=1e-5)
    assert found.norm == pytest.approx(every.norm, rel=1e-4)
    assert found.baseline == every.baseline
    with pytest.raises(UserError, match=r"cannot scan without unit 9\.mlp"):
        scan(model, word_tokenizer(), docs, candidates=[Unit(9, "mlp")])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("row_budget", [60, 4000])
def test_operations_are_those_that_run(family: str, row_budget: int) -> None:
    model, docs = tiny(family), random_documents(8)
    model.set_attn_implementation("eager")  # torch does not count fused attention on a CPU
    with FlopCounterMode(display=False) as counter:
        found = scan(model, word_tokenizer(), docs, row_budget=row_budget)
    # Rotary angles, and OPT's projection of embeddings, are not counted by us.
    assert found.operations == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_the_package_is_the_function_and_bad_documents_are_refused() -> None:
    model, tokenizer = tiny("llama"), word_tokenizer()
    assert trimllm.scan(model, tokenizer, random_documents(2)).documents == 2
    assert trimllm.units(model) == units(model)
    with pytest.raises(UserError, match="there are none"):
        scan(model, tokenizer, [])


def test_a_scan_runs_in_the_type_that_is_asked_for() -> None:
    model, docs = tiny("llama"), random_documents(9)
    half = rounded_copy(model, torch.bfloat16)
    told = [
        scan(one, word_tokenizer(), docs, dtype=dtype).baseline_likelihood
        for one, dtype in ((model, "bfloat16"), (half, None), (model, None), (model, "float32"))
    ]
    assert told[0] == told[1] != told[2] == told[3]
    assert model.dtype == torch.float32
