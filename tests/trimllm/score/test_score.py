"""Packed rows give the log-likelihoods of separate rows, and tokens are lm-eval's tokens."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch
from models import FAMILIES, tiny, word_tokenizer
from tokenizers.processors import TemplateProcessing

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.score import (
    Row,
    batches,
    encode_document,
    encode_pair,
    rendered,
    row_of,
    rows,
    score,
    score_rows,
)
from trimllm.score.encode import encode_text
from trimllm.sublayers import Unit, adapters, drop


def random_rows(count: int, seed: int = 0) -> list[Row]:
    rng = random.Random(seed)

    def some(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, 101) for _ in range(rng.randint(low, high)))

    return [
        Row(some(1, 12), tuple(some(1, 5) for _ in range(rng.randint(1, 5)))) for _ in range(count)
    ]


@torch.no_grad()
def separately(model: torch.nn.Module, row: Row) -> tuple[list[float], list[bool]]:
    """The textbook way: one forward pass a choice, log-softmax at every place."""
    sums, greedy = [], []
    for choice in row.choices:
        logits = model(torch.tensor([row.prompt + choice])).logits[0]
        predicted = logits[len(row.prompt) - 1 : -1].log_softmax(-1)
        sums.append(float(predicted[range(len(choice)), choice].sum()))
        greedy.append(predicted.argmax(-1).tolist() == list(choice))
    return sums, greedy


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("budget", [1, 40, 10_000])
@pytest.mark.parametrize("few_scores", [0, rows.FEW_SCORES], ids=["fused", "products"])
def test_packed_rows_are_separate_rows(
    family: str, trimmed: bool, budget: int, few_scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "FEW_SCORES", few_scores)
    # several blocks, which begin in the middle of a row
    monkeypatch.setattr(adapters, "CPU_BLOCK", 32)
    model = tiny(family)
    if trimmed:
        drop(model, [Unit(0, "mlp"), Unit(3, "attention"), Unit(4, "mlp")])
    packed = random_rows(17)
    for row, scored in zip(packed, score_rows(model, packed, token_budget=budget), strict=True):
        sums, greedy = separately(model, row)
        assert scored.log_likelihoods == pytest.approx(sums, abs=2e-4)
        assert list(scored.greedy) == greedy
        assert scored.best == max(range(len(sums)), key=scored.log_likelihoods.__getitem__)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("few_scores", [0, rows.FEW_SCORES], ids=["fused", "products"])
def test_rows_that_begin_alike_read_their_beginning_once(
    family: str, few_scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "FEW_SCORES", few_scores)
    model = tiny(family)
    alike = [Row((7, 8, 9, *row.prompt), row.choices) for row in random_rows(9)]
    (batch,) = batches(alike, 10_000, "cpu")
    assert batch.shared >= 3
    for row, scored in zip(alike, score_rows(model, alike, token_budget=10_000), strict=True):
        assert scored.log_likelihoods == pytest.approx(separately(model, row)[0], abs=2e-4)


def test_a_choice_longer_than_the_model_is_refused() -> None:
    model = tiny("llama")
    model.config.max_position_embeddings = 3
    (found,) = score_rows(model, [Row((9, 8), ((5, 6, 7),))])
    assert found.log_likelihoods == pytest.approx(
        separately(model, Row((8,), ((5, 6, 7),)))[0], abs=2e-4
    )
    with pytest.raises(UserError, match="a choice of 4 tokens does not fit the model's 3 pos"):
        score_rows(model, [Row((9, 8), ((5, 6, 7, 8),))])


def test_a_head_may_have_a_bias() -> None:
    model = tiny("llama")
    head = model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.randn(head.out_features))
    packed = random_rows(9)
    for row, scored in zip(packed, score_rows(model, packed), strict=True):
        assert scored.log_likelihoods == pytest.approx(separately(model, row)[0], abs=2e-4)


def test_rows_longer_than_the_model_are_cut_as_lm_eval_cuts_them() -> None:
    model = tiny("llama")
    model.config.max_position_embeddings = 9
    row = Row(tuple(range(10, 20)), ((5, 6), (7,), (8, 9, 10)))
    scored = score_rows(model, [row])[0].log_likelihoods
    for value, choice in zip(scored, row.choices, strict=True):
        whole = (row.prompt + choice)[-10:]
        alone = Row(whole[: -len(choice)], (choice,))
        assert value == pytest.approx(separately(model, alone)[0][0], abs=2e-4)


def test_batches_hold_every_row_once_and_keep_the_budget() -> None:
    rows = random_rows(40, seed=5)
    seen = []
    for batch in batches(rows, 50, "cpu"):
        seen += batch.order
        assert batch.tokens <= 50 or len(batch.order) == 1
        members = [rows[index] for index in batch.order]
        repeated = batch.shared * (len(members) - 1)
        assert batch.tokens == sum(row.length for row in members) - repeated
        assert len(batch.places) == sum(1 + row.length - len(row.prompt) for row in members)
    assert sorted(seen) == list(range(40))
    # As many as fit, shortest first.
    lengths = [[rows[index].length for index in one.order] for one in batches(rows, 50, "cpu")]
    assert sum(lengths, []) == sorted(row.length for row in rows)
    assert all(sum(a) + b[0] > 50 for a, b in pairwise(lengths))


def test_a_common_beginning_leaves_every_row_a_token_of_its_own() -> None:
    def common(*prompts: tuple[int, ...]) -> int:
        return rows.common_prefix([Row(prompt, ((1,),)) for prompt in prompts])

    assert common((5, 6, 7)) == 0
    assert common((5, 6, 7), (5, 6, 8)) == common((5, 6, 7), (5, 6, 8), (5, 6, 9, 9)) == 2
    assert common((5, 6), (5, 6)) == common((5, 6), (5, 6, 7)) == 1
    assert common((5, 6), (6, 6)) == common((5,), (5, 6)) == 0


@pytest.mark.parametrize(
    ("prompt", "choice"),
    [
        ("w1 w2", " w3 w4"),
        ("w1 w2 ", "w3"),
        ("w1 w2\n", " w3"),
        ("", "w3 w4"),
        ("<s>w1", " w2"),
    ],
)
@pytest.mark.parametrize("family", ["llama", "opt"])
def test_pairs_are_encoded_as_lm_eval_encodes_them(prompt: str, choice: str, family: str) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=tiny(family), tokenizer=word_tokenizer(), batch_size=1)
    caught = []
    harness._loglikelihood_tokens = lambda requests, **_: caught.extend(requests)
    harness.loglikelihood([Instance("loglikelihood", {}, (prompt, choice), 0)], disable_tqdm=True)
    assert encode_pair(word_tokenizer(), prompt, choice) == tuple(caught[0][1:])


def test_a_beginning_that_the_text_has_is_not_added_again() -> None:
    tokenizer = word_tokenizer()
    begin = (tokenizer.bos_token, tokenizer.bos_token_id)
    processor = TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    tokenizer.backend_tokenizer.post_processor = processor
    assert encode_text(tokenizer, "w1 w2") == encode_text(tokenizer, f"{begin[0]} w1 w2")
    assert encode_text(tokenizer, "w1 w2").count(begin[1]) == 1


def test_a_free_answer_ends_and_choices_do_not() -> None:
    model, tokenizer = tiny("llama"), word_tokenizer()
    free = Document("w1 w2 w3", (" w5 w6",), 0)
    assert row_of(tokenizer, free) == Row((5, 6, 7), ((9, 10, tokenizer.eos_token_id),))
    (found,) = score(model, tokenizer, [free])
    assert found.tokens == (3,)
    (chosen,) = score(model, tokenizer, [Document("w1 w2 w3", (" w5 w6", " w4"), 0)])
    assert chosen.tokens == (2, 1)


TURNS = "{% for m in messages %}<s> {{m.role}} {{m.content}} </s> {% endfor %}"
ASKED = "{% if add_generation_prompt %}<s> assistant{% endif %}"


def test_a_chat_template_is_applied_where_both_have_something_to_say() -> None:
    tokenizer = word_tokenizer()
    said = (("system", "w7"), ("user", "w1 w2"))
    document = Document("w1 w2 w3", (" w4", " w5 w6"), 1, said)
    plain = Document("w1 w2 w3", (" w4", " w5 w6"), 1)
    assert row_of(tokenizer, document) == row_of(tokenizer, plain)
    tokenizer.chat_template = TURNS + ASKED
    assert row_of(tokenizer, plain) == Row((5, 6, 7), ((8,), (9, 10)))
    found = rendered(tokenizer, document)
    assert found.prompt == "<s> system w7 </s> <s> user w1 w2 </s> <s> assistant"
    # The space is what the template writes before an answer.
    assert found.choices == (" w4", " w5 w6") and found.answer == 1
    (prompt, choices), unknown = encode_document(tokenizer, document), 3
    assert prompt == [1, unknown, 11, 2, 1, unknown, 5, 6, 2, 1, unknown]
    assert choices == [[8], [9, 10]]
    tokenizer.chat_template = TURNS + ASKED.replace("assistant", "assistant ")
    assert rendered(tokenizer, document).choices == ("w4", "w5 w6")


def test_a_template_that_refuses_a_document_is_one_line() -> None:
    tokenizer = word_tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no system here') }}"
    with pytest.raises(UserError, match="refuses the document 'w1' .no system here.; set `chat_t"):
        row_of(tokenizer, Document("w1", (" w2",), 0, (("user", "w1"),)))


def test_documents_are_scored_and_a_choice_without_tokens_is_refused() -> None:
    model, tokenizer = tiny("llama"), word_tokenizer()
    document = Document("w1 w2 w3", (" w4", " w5 w6"), 1)
    assert row_of(tokenizer, document) == Row((5, 6, 7), ((8,), (9, 10)))
    expected = separately(model, row_of(tokenizer, document))[0]
    found = score(model, tokenizer, [document])[0].log_likelihoods
    assert found == pytest.approx(expected, abs=1e-4)
    tokenizer.encode = lambda text, **_: [5, 6, 7]
    with pytest.raises(UserError, match="has no tokens"):
        row_of(tokenizer, document)
