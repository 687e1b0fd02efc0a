"""How a tokenizer is told to llama.cpp, and what llama.cpp has no code for."""

from __future__ import annotations

import json

import pytest
from exports import SPECIAL, byte_tokenizer, piece_tokenizer
from models import word_tokenizer
from tokenizers import Regex, normalizers, pre_tokenizers

from trimllm.base.errors import UserError
from trimllm.exporting.vocabulary import _QWEN2, vocabulary


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), behavior="isolated"), whole]
    )


DIGITS = pre_tokenizers.Sequence(
    [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False),
    ]
)


@pytest.mark.parametrize(
    "cut, name",
    [
        (None, "gpt-2"),
        (DIGITS, "smollm"),
        (split(_QWEN2), "qwen2"),
        (split(_QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")), "llama-bpe"),
    ],
)
def test_the_way_words_are_cut_has_a_name(cut, name: str) -> None:
    found = vocabulary(byte_tokenizer(cut), 340)
    assert (found.model, found.pre) == ("gpt2", name)
    assert not found.scores and found.merges


def test_every_row_of_the_embeddings_has_a_token_of_a_type() -> None:
    tokenizer = byte_tokenizer()
    found = vocabulary(tokenizer, 340)
    known = tokenizer.get_vocab()
    assert len(found.tokens) == len(found.types) == 340
    assert all(found.tokens[number] == token for token, number in known.items())
    control, unused, normal = 3, 5, 1
    for number, kind in enumerate(found.types):
        special = found.tokens[number] in SPECIAL
        expected = control if special else normal if number < len(known) else unused
        assert kind == expected, found.tokens[number]
    assert len(set(found.tokens)) == 340


def test_pieces_have_scores_in_the_order_of_their_merges() -> None:
    tokenizer = piece_tokenizer()
    found = vocabulary(tokenizer, 400)
    assert (found.model, found.pre, found.space_prefix) == ("llama", "default", True)
    score = dict(zip(found.tokens, found.scores, strict=True))
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    merged = ["".join(pair) for pair in merges]
    assert len(merged) > 20 and [score[one] for one in merged] == [-i for i in range(len(merged))]
    assert score["t"] < min(score[one] for one in merged)
    byte = 6
    kinds = dict(zip(found.tokens, found.types, strict=True))
    assert kinds["<0x0A>"] == byte and not found.merges


@pytest.mark.parametrize(
    "tokenizer, told",
    [
        (word_tokenizer, "it knows BPE"),
        (lambda: byte_tokenizer(split(r"\w+")), "is not known; add it to"),
        (lambda: byte_tokenizer(pre_tokenizers.Whitespace()), "cuts words by Whitespace"),
    ],
)
def test_a_tokenizer_that_llama_cpp_has_no_code_for_is_refused(tokenizer, told: str) -> None:
    with pytest.raises(UserError, match=told):
        vocabulary(tokenizer(), 340)


def test_a_tokenizer_that_changes_texts_is_refused() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()
    with pytest.raises(UserError, match="does not change texts as this tokenizer does .Lowercase"):
        vocabulary(tokenizer, 340)


def test_more_tokens_than_rows_are_refused() -> None:
    with pytest.raises(UserError, match="tokens, the model 100"):
        vocabulary(byte_tokenizer(), 100)
