"""The one-pass scan finds what dropping each sublayer in turn finds."""

from __future__ import annotations

import copy

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from models import FAMILIES, random_documents, tiny, word_tokenizer, zero
from torch.utils.flop_counter import FlopCounterMode

import trimllm
from trimllm.base.errors import UserError
from trimllm.base.precision import rounded_copy
from trimllm.data import Document
from trimllm.scanning import Scores, scan
from trimllm.scanning.sample import sample_of
from trimllm.score import forward
from trimllm.select import choose
from trimllm.sublayers import Unit, drop, unit_layers, units

GONE = [Unit(0, "attention"), Unit(2, "mlp"), Unit(4, "mlp")]
TOKENIZER = word_tokenizer()


def by_hflm(model: torch.nn.Module, documents: list[Document]) -> Scores:
    """Accuracy and likelihood by lm-eval's own class, a choice at a time."""
    harness = HFLM(pretrained=model, tokenizer=TOKENIZER, batch_size=1)
    pairs = [(one.prompt, choice) for one in documents for choice in one.choices]
    requests = [Instance("loglikelihood", {}, pair, at) for at, pair in enumerate(pairs)]
    answers = iter(harness.loglikelihood(requests, disable_tqdm=True))
    right, total = 0, 0.0
    for one in documents:
        values = torch.tensor([next(answers)[0] for _ in one.choices], dtype=torch.double)
        right += int(values.argmax()) == one.answer
        total += float(values.log_softmax(0)[one.answer])
    return Scores(100 * right / len(documents), total / len(documents))


@torch.no_grad()
def by_transformers(model: torch.nn.Module, documents: list[Document]) -> float:
    """Mean over documents of the mean log-probability of a free answer's tokens and its end."""
    means = []
    for document in documents:
        prompt = TOKENIZER.encode(document.prompt)
        whole = TOKENIZER.encode(document.prompt + document.choices[0]) + [TOKENIZER.eos_token_id]
        logits = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
        answer = [float(logits[at - 1, whole[at]]) for at in range(len(prompt), len(whole))]
        means.append(sum(answer) / len(answer))
    return sum(means) / len(means)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("row_budget", [1, 150, None])
def test_scan_is_exhaustive_dropping(
    family: str, row_budget: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same accuracies as by HFLM, the same sublayer dropped; of choices and of free answers."""
    monkeypatch.setattr(forward, "CPU_TOKENS", 64)
    documents, free = random_documents(9), random_documents(5, seed=1, choices=1)
    model = drop(tiny(family), GONE)
    found = scan(model, TOKENIZER, documents, row_budget=row_budget)
    answers = scan(model, TOKENIZER, free, row_budget=row_budget)
    assert found.scored == answers.scored == units(model) and answers.free and not found.free
    exhaustive = {}
    for unit in [None, *found.scored]:
        oracle = zero(tiny(family), [*GONE, *([unit] if unit else [])])
        exhaustive[unit] = by_hflm(oracle, documents)
        one, answer = (each.sublayers[unit] if unit else each.baseline for each in (found, answers))
        assert one.accuracy == exhaustive[unit].accuracy and answer.accuracy is None
        assert one.likelihood == pytest.approx(exhaustive[unit].likelihood, abs=1e-4)
        assert answer.likelihood == pytest.approx(by_transformers(oracle, free), abs=1e-4)
    del exhaustive[None]
    best = max(exhaustive, key=lambda unit: exhaustive[unit].accuracy)
    assert choose(found, "calibration", 1).dropped == (best,)


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_are_what_the_sublayers_add_to_the_stream(family: str) -> None:
    """Against hooks on the stock model, with one-token choices, where rows are plain prompts."""
    model = tiny(family)
    documents = [Document(d.prompt, (" w1", " w2"), 0) for d in random_documents(4)]
    expected = dict.fromkeys(units(model), 0.0)
    for unit, layer in unit_layers(model):
        name = {"attention": "self_attn", "mlp": "fc2" if family == "opt" else "mlp"}[unit.kind]

        def note(_: object, __: object, output: object, unit: Unit = unit) -> None:
            tensor = output[0] if isinstance(output, tuple) else output
            expected[unit] += float(tensor.norm()) / len(documents)

        layer.get_submodule(name).register_forward_hook(note)
    with torch.no_grad():
        for document in documents:
            model(torch.tensor([TOKENIZER.encode(document.prompt)]))
    found = scan(tiny(family), TOKENIZER, documents)
    for unit, value in expected.items():
        assert found.sublayers[unit].norm == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("row_budget", [1, 8192])
def test_a_scan_of_some_candidates_has_their_scores_and_all_norms(row_budget: int) -> None:
    model, documents = tiny("llama"), random_documents(9)
    some = [Unit(1, "mlp"), Unit(3, "attention"), Unit(4, "mlp")]
    every = scan(model, TOKENIZER, documents)
    found = scan(model, TOKENIZER, documents, candidates=some, row_budget=row_budget)
    assert found.scored == some and found.baseline.accuracy == every.baseline.accuracy
    for unit, one in found.sublayers.items():
        assert one.norm == pytest.approx(every.sublayers[unit].norm, rel=1e-4)
    for unit in some:
        assert found.sublayers[unit].accuracy == every.sublayers[unit].accuracy
        likelihood = every.sublayers[unit].likelihood
        assert found.sublayers[unit].likelihood == pytest.approx(likelihood, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("row_budget", [60, 4000])
def test_operations_are_those_that_run(family: str, row_budget: int) -> None:
    model, documents = tiny(family), random_documents(8)
    model.set_attn_implementation("eager")  # torch does not count fused attention on a CPU
    with FlopCounterMode(display=False) as counter:
        found = scan(model, TOKENIZER, documents, row_budget=row_budget)
    # Rotary angles, and OPT's projection of embeddings, are not counted by us.
    assert found.operations == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_what_a_scan_refuses() -> None:
    model, documents = tiny("llama"), random_documents(2)
    with pytest.raises(UserError, match="there are none"):
        trimllm.scan(model, TOKENIZER, [])
    with pytest.raises(UserError, match=r"cannot scan without unit 9\.mlp"):
        scan(model, TOKENIZER, documents, candidates=[Unit(9, "mlp")])
    with pytest.raises(UserError, match="calibration: 3 of 5 documents have a free answer"):
        scan(model, TOKENIZER, [*documents, *random_documents(3, choices=1)])


def test_a_scan_runs_in_the_type_that_is_asked_for() -> None:
    model, documents = tiny("llama"), random_documents(9)
    half, double = rounded_copy(model, torch.bfloat16), copy.deepcopy(model).double()
    found = [
        scan(one, TOKENIZER, documents, dtype=dtype).baseline.likelihood
        for one, dtype in ((model, "bfloat16"), (half, None), (model, None), (double, None))
    ]
    assert found[0] == found[1] != found[2] == pytest.approx(found[3], abs=1e-5)
    assert model.dtype == torch.float32


def test_every_scan_draws_anew_and_the_same_again() -> None:
    pool = [Document(f"q{number}", (" a", " b"), 0) for number in range(90)]
    draws = [sample_of(pool, 50, 3, number) for number in (0, 1, 0)]
    assert draws[0] == draws[2] != draws[1]
    assert all(len({*draw}) == 50 and {*draw} <= {*pool} for draw in draws)
    assert sample_of(pool, 50, 4, 0) != draws[0]
    assert sample_of(pool, None, 3, 0) == sample_of(pool, 90, 3, 0) == pool
