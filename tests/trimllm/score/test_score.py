"""Packed rows give the log-likelihoods of separate rows, and tokens are lm-eval's tokens."""

import random
from dataclasses import replace

import pytest
import torch
from exports import byte_tokenizer, piece_tokenizer
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from models import FAMILIES, tiny, word_tokenizer
from tokenizers.processors import TemplateProcessing

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.scanning import scan
from trimllm.score import (
    Row,
    batches,
    encode_document,
    encode_pair,
    forward,
    rendered,
    score,
    score_rows,
)
from trimllm.score.encode import encode_text
from trimllm.sublayers import Unit
from trimllm.train.batching import examples_of


def random_rows(count: int, seed: int = 0) -> list[Row]:
    rng = random.Random(seed)

    def some(low: int, high: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, 101) for _ in range(rng.randint(low, high)))

    return [
        Row(some(1, 12), tuple(some(1, 5) for _ in range(rng.randint(1, 5)))) for _ in range(count)
    ]


@torch.no_grad()
def separately(model: torch.nn.Module, row: Row) -> list[float]:
    """The textbook way: one forward pass a choice, log-softmax at every place."""
    sums = []
    for choice in row.choices:
        logits = model(torch.tensor([row.prompt + choice])).logits[0]
        predicted = logits[len(row.prompt) - 1 : -1].log_softmax(-1)
        sums.append(float(predicted[range(len(choice)), choice].sum()))
    return sums


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_are_separate_rows(family, monkeypatch):
    # several parts of a batch, one of which begins in the middle of it
    monkeypatch.setattr(forward, "CPU_TOKENS", 64)
    model = tiny(family, dropped=[Unit(0, "mlp"), Unit(3, "attention"), Unit(4, "mlp")])
    if family == "phi3":  # a head may have a bias
        head = model.get_output_embeddings()
        head.bias = torch.nn.Parameter(torch.randn(head.out_features))
    packed = random_rows(17)
    expected = [separately(model, row) for row in packed]
    for budget in (1, 40, 10_000):
        scores = score_rows(model, packed, token_budget=budget)
        for row, scored, sums in zip(packed, scores, expected, strict=True):
            assert scored.tokens == tuple(map(len, row.choices))
            assert scored.log_likelihoods == pytest.approx(sums, abs=2e-4)
            assert scored.best == max(range(len(sums)), key=scored.log_likelihoods.__getitem__)


def test_one_rule_cuts_what_is_longer_than_the_model():
    """Scan, training and scoring see the tokens that lm-eval sees."""
    model, tokenizer = tiny("llama"), word_tokenizer()
    model.config.max_position_embeddings = 9
    prompt = " ".join(f"w{number}" for number in range(10, 20))
    document = Document(prompt, (" w5 w6", " w7", " w8 w9 w10"), 1)
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=9)
    pairs = [(document.prompt, choice) for choice in document.choices]
    requests = [Instance("loglikelihood", {}, pair, at) for at, pair in enumerate(pairs)]
    expected = [total for total, _ in harness.loglikelihood(requests, disable_tqdm=True)]
    assert score(model, tokenizer, [document])[0].log_likelihoods == pytest.approx(expected)
    likelihood = pytest.approx(torch.tensor(expected).log_softmax(0)[1].item(), abs=1e-6)
    assert scan(model, tokenizer, [document]).baseline.likelihood == likelihood
    # Training shows all choices one prompt, which the longest of them fits behind.
    (example,) = examples_of(tokenizer, [document], 9)
    assert example.input_row == Row(tuple(tokenizer.encode(prompt)[-7:]), ((11,),))
    model.config.max_position_embeddings = 2
    for cut in (
        lambda: score(model, tokenizer, [document]),
        lambda: scan(model, tokenizer, [document]),
        lambda: examples_of(tokenizer, [document], 2),
    ):
        with pytest.raises(UserError, match="a choice of 3 tokens does not fit the model's 2 pos"):
            cut()


def test_batches_hold_every_row_once_with_little_padding():
    rows = random_rows(40, seed=5)
    seen = []
    for batch in batches(rows, 50, None, "cpu"):
        seen += batch.rows
        members = [rows[index] for index in batch.rows]
        lengths = [row.length for row in members]
        assert len(batch.rows) == 1 or batch.ids.numel() <= 50
        assert batch.ids.shape == (len(lengths), max(lengths))
        assert max(lengths) <= 1.125 * min(lengths)
        assert sum(lengths) == int((batch.segments >= 0).sum())
        assert len(batch.places) == sum(
            1 + rows[i].length - len(rows[i].prompt) for i in batch.rows
        )
    assert sorted(seen) == list(range(40))


@pytest.mark.parametrize(
    ("tokenizer", "prompt", "choice"),
    [
        *((word_tokenizer, *pair) for pair in (("w1 w2", " w3 w4"), ("w1 w2 ", "w3"))),
        *((word_tokenizer, *pair) for pair in (("w1\n", " w3"), ("<s>w1", " w2"))),
        # merges go over the boundary
        *((bpe, "The light", "house keeper") for bpe in (byte_tokenizer, piece_tokenizer)),
        (byte_tokenizer, "The ", "lighthouse"),
    ],
)
def test_pairs_are_encoded_as_lm_eval_encodes_them(tokenizer, prompt, choice):
    harness = HFLM(pretrained=tiny("llama"), tokenizer=tokenizer(), batch_size=1)
    caught = []
    harness._loglikelihood_tokens = lambda requests, **_: caught.extend(requests)
    harness.loglikelihood([Instance("loglikelihood", {}, (prompt, choice), 0)], disable_tqdm=True)
    assert encode_pair(tokenizer(), prompt, choice) == tuple(caught[0][1:])


def test_a_beginning_that_the_text_has_is_not_added_again():
    tokenizer = word_tokenizer()
    begin = (tokenizer.bos_token, tokenizer.bos_token_id)
    processor = TemplateProcessing(single=f"{begin[0]} $A", special_tokens=[begin])
    tokenizer.backend_tokenizer.post_processor = processor
    assert encode_text(tokenizer, "w1 w2") == encode_text(tokenizer, f"{begin[0]} w1 w2")
    assert encode_text(tokenizer, "w1 w2").count(begin[1]) == 1


TURNS = "{% for m in messages %}<s> {{m.role}} {{m.content}} </s> {% endfor %}"
ASKED = "{% if add_generation_prompt %}<s> assistant{% endif %}"


def test_a_chat_template_is_applied_to_documents_with_messages():
    tokenizer = word_tokenizer()
    messages = (("system", "w7"), ("user", "w1 w2"))
    document = Document("w1 w2 w3", (" w4", " w5 w6"), 1, messages)
    plain = replace(document, messages=())
    assert encode_document(tokenizer, document) == encode_document(tokenizer, plain)
    tokenizer.chat_template = TURNS + ASKED
    assert encode_document(tokenizer, plain) == Row((5, 6, 7), ((8,), (9, 10)))
    chat = rendered(tokenizer, document)
    assert chat.prompt == "<s> system w7 </s> <s> user w1 w2 </s> <s> assistant"
    # The space is what the template writes before an answer.
    assert chat.choices == (" w4", " w5 w6") and chat.answer == 1
    (prompt, choices), unknown = encode_document(tokenizer, document), 3
    assert prompt == (1, unknown, 11, 2, 1, unknown, 5, 6, 2, 1, unknown)
    assert choices == ((8,), (9, 10))
    tokenizer.chat_template = TURNS + ASKED.replace("assistant", "assistant ")
    assert rendered(tokenizer, document).choices == ("w4", "w5 w6")
    lead = "{% if m.role == 'assistant' %}w4: {% endif %}{{m.content}}"
    tokenizer.chat_template = TURNS.replace("{{m.content}}", lead) + ASKED
    assert rendered(tokenizer, document).choices == (" w4: w4", " w4: w5 w6")
    tokenizer.chat_template = "{{ raise_exception('no system here') }}"
    with pytest.raises(UserError, match="refuses the document 'w1 w2 w3' .no system here."):
        encode_document(tokenizer, document)
