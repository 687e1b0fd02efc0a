"""The one-pass scan equals dropping each sublayer in turn."""

import copy
import json

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from models import FAMILIES, random_documents, tiny, word_tokenizer, zero

import trimllm
from trimllm.base.errors import UserError
from trimllm.base.precision import rounded_copy
from trimllm.data import Document
from trimllm.scanning import Scores, from_record, sample_of, scan, to_record
from trimllm.score import forward
from trimllm.select import choose
from trimllm.sublayers import Unit, unit_layers, units

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
def test_scan_is_exhaustive_dropping(family, monkeypatch):
    """The same accuracies as by HFLM, the same sublayer dropped; of choices and of free answers,
    in one batch or many, with all candidates at once or in groups."""
    monkeypatch.setattr(forward, "CPU_TOKENS", 64)
    documents, free = random_documents(9), random_documents(5, seed=1, choices=1)
    model = tiny(family, dropped=GONE)
    oracle = {}
    for unit in [None, *units(model)]:
        zeroed = zero(tiny(family), [*GONE, *([unit] if unit else [])])
        oracle[unit] = by_hflm(zeroed, documents), by_transformers(zeroed, free)
    best = max(units(model), key=lambda unit: oracle[unit][0].accuracy)
    for row_budget in (1, 150, None):
        result = scan(model, TOKENIZER, documents, row_budget=row_budget)
        answers = scan(model, TOKENIZER, free, row_budget=row_budget)
        assert result.scored == answers.scored == units(model) and answers.free and not result.free
        for unit, (expected, likelihood) in oracle.items():
            one, answer = (r.sublayers[unit] if unit else r.baseline for r in (result, answers))
            assert one.accuracy == expected.accuracy and answer.accuracy is None
            assert one.likelihood == pytest.approx(expected.likelihood, abs=1e-4)
            assert answer.likelihood == pytest.approx(likelihood, abs=1e-4)
        assert choose(result, "calibration", 1).dropped == (best,)


@pytest.mark.parametrize("family", FAMILIES)
def test_norms_are_those_of_what_the_sublayers_add_to_the_stream(family):
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
    result = scan(tiny(family), TOKENIZER, documents)
    for unit, value in expected.items():
        assert result.sublayers[unit].norm == pytest.approx(value, rel=1e-4)


SOME = [Unit(1, "mlp"), Unit(3, "attention"), Unit(4, "mlp")]


@pytest.mark.parametrize("row_budget, some", [(1, SOME), (8192, SOME), (8192, [])])
def test_a_scan_of_some_candidates_has_their_scores_and_all_norms(row_budget, some):
    model, documents = tiny("llama"), random_documents(9)
    every = scan(model, TOKENIZER, documents)
    result = scan(model, TOKENIZER, documents, candidates=some, row_budget=row_budget)
    assert result.scored == some and result.baseline.accuracy == every.baseline.accuracy
    assert result.baseline.likelihood == pytest.approx(every.baseline.likelihood, abs=1e-5)
    for unit, one in result.sublayers.items():
        expected = every.sublayers[unit]
        assert one.norm == pytest.approx(expected.norm, rel=1e-4)
        if unit in some:
            assert one.accuracy == expected.accuracy
            assert one.likelihood == pytest.approx(expected.likelihood, abs=1e-5)


@pytest.mark.parametrize("choices, candidates", [(3, None), (3, [Unit(1, "mlp")]), (1, None)])
def test_a_record_gives_the_scan_back(choices, candidates):
    documents = random_documents(4, choices=choices)
    result = scan(tiny("llama"), TOKENIZER, documents, candidates=candidates)
    assert from_record(json.loads(json.dumps(to_record(result)))) == result


MIXED = [*random_documents(2), *random_documents(3, choices=1)]


@pytest.mark.parametrize(
    ("documents", "candidates", "reason"),
    [
        ([], None, "there are none"),
        (random_documents(2), [Unit(9, "mlp")], r"cannot scan without sublayer 9\.mlp"),
        (MIXED, None, "calibration: 3 of 5 documents have a free answer"),
    ],
)
def test_what_a_scan_refuses(documents, candidates, reason):
    with pytest.raises(UserError, match=reason):
        trimllm.scan(tiny("llama"), TOKENIZER, documents, candidates=candidates)


def test_a_scan_runs_in_the_given_type():
    model, documents = tiny("llama"), random_documents(9)
    half, double = rounded_copy(model, torch.bfloat16), copy.deepcopy(model).double()
    by_dtype, by_half, plain, by_double = (
        scan(one, TOKENIZER, documents, dtype=dtype).baseline.likelihood
        for one, dtype in ((model, "bfloat16"), (half, None), (model, None), (double, None))
    )
    assert by_dtype == by_half != plain == pytest.approx(by_double, abs=1e-5)
    assert model.dtype == torch.float32


def test_every_scan_draws_anew_and_the_same_again():
    pool = [Document(f"q{number}", (" a", " b"), 0) for number in range(90)]
    draws = [sample_of(pool, 50, 3, number) for number in (0, 1, 0)]
    assert draws[0] == draws[2] != draws[1]
    assert all(len({*draw}) == 50 and {*draw} <= {*pool} for draw in draws)
    assert sample_of(pool, 50, 4, 0) != draws[0]
    assert sample_of(pool, None, 3, 0) == sample_of(pool, 90, 3, 0) == pool
