"""Tokenizers in llama.cpp's terms; those that it has no code for are refused."""

from __future__ import annotations

import json

import pytest
from exports import SPECIAL, byte_tokenizer, piece_tokenizer
from gguf import TokenType
from models import word_tokenizer
from tokenizers import Regex, pre_tokenizers
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

from trimllm.base.errors import UserError
from trimllm.exporting.vocabulary import LLAMA_3, QWEN2, vocabulary


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    whole = ByteLevel(add_prefix_space=False, use_regex=False)
    return Sequence([Split(Regex(pattern), behavior="isolated"), whole])


DIGITS = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])


@pytest.mark.parametrize(
    "way, name",
    [(None, "gpt-2"), (DIGITS, "smollm"), (split(QWEN2), "qwen2"), (split(LLAMA_3), "llama-bpe")],
)
def test_bytes_are_split_in_a_way_with_a_name(way, name: str) -> None:
    tokenizer = byte_tokenizer(way)
    tokenizer.backend_tokenizer.model.byte_fallback = True  # as in SmolLM2's, without effect
    found, known = vocabulary(tokenizer, 340), tokenizer.get_vocab()
    assert (found["tokenizer_model"], found["tokenizer_pre"]) == ("gpt2", name)
    tokens = found["token_list"]
    assert len(set(tokens)) == 340 and "token_scores" not in found
    assert all(tokens[number] == token for token, number in known.items())
    for number, (token, kind) in enumerate(zip(tokens, found["token_types"], strict=True)):
        used = TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL
        assert kind == (used if number < len(known) else TokenType.UNUSED), token


def test_pieces_have_scores_in_the_order_of_their_merges() -> None:
    tokenizer = piece_tokenizer()
    found = vocabulary(tokenizer, 400)
    assert (found["tokenizer_model"], found["tokenizer_pre"]) == ("llama", "default")
    score = dict(zip(found["token_list"], found["token_scores"], strict=True))
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    merged = [score["".join(pair)] for pair in merges]
    assert len(merged) > 20 and merged == [-i for i in range(len(merged))]
    assert score["t"] < min(merged) and found["add_space_prefix"]


@pytest.mark.parametrize(
    "tokenizer, size, why",
    [
        (word_tokenizer, 340, "it has BPE"),
        (lambda: byte_tokenizer(split(r"\w+")), 340, "is not known; add it to"),
        (byte_tokenizer, 100, "tokens, the model 100"),
    ],
)
def test_a_tokenizer_that_llama_cpp_has_no_code_for_is_refused(tokenizer, size, why) -> None:
    with pytest.raises(UserError, match=why):
        vocabulary(tokenizer(), size)
