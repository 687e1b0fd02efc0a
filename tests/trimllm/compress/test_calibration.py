"""What is scored of held-back texts, and that the loss is the textbook's."""

from __future__ import annotations

import pytest
import torch
from models import tiny, word_tokenizer

from trimllm.base.errors import UserError
from trimllm.compress import proof
from trimllm.compress.job import equal_blocks, pack
from trimllm.compress.proof import answered, mean_loss, scored_rows
from trimllm.data import Document
from trimllm.sublayers import Unit, drop

PAIRS = [("w1 w2 w3", " w4"), ("w5 w6", " w7 w8"), ("w9 w10 w11 w12", " w13")]


def test_of_a_pair_the_answer_counts_and_of_a_text_everything() -> None:
    tokenizer = word_tokenizer()
    pairs = scored_rows(tokenizer, PAIRS, 100)
    texts = scored_rows(tokenizer, ["".join(pair) for pair in PAIRS], 100)
    assert [ids for ids, _ in pairs] == [ids for ids, _ in texts]
    assert [len(ids) - first for ids, first in pairs] == [1, 2, 1]
    assert [first for _, first in texts] == [1, 1, 1]


def test_long_prompts_lose_their_beginning() -> None:
    (whole, _), (cut, first) = (
        scored_rows(word_tokenizer(), [PAIRS[2]], limit)[0] for limit in (100, 3)
    )
    assert cut == whole[-3:] and first == 2


@pytest.mark.parametrize("at_once", [1, 9, 512])
@pytest.mark.parametrize("family", ["llama", "opt"])
@torch.no_grad()
def test_the_loss_is_that_of_the_scored_tokens(
    family: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows run together, padded."""
    monkeypatch.setattr(proof, "BATCH_TOKENS", at_once)
    model = drop(tiny(family), [Unit(0, "mlp"), Unit(1, "attention")])
    rows = scored_rows(word_tokenizer(), PAIRS, 100)
    assert [len(ids) for ids, _ in rows] == [4, 4, 5]
    losses = []
    for ids, first in rows:
        scores = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        losses += [-float(scores[at - 1, ids[at]]) for at in range(first, len(ids))]
    assert len(losses) == 4
    assert mean_loss(model, rows) == pytest.approx(sum(losses) / 4, rel=1e-5)
    with pytest.raises(UserError, match="no two tokens in a row"):
        mean_loss(model, [([5], 1)])


def test_documents_that_are_there_twice_are_taken_once() -> None:
    documents = [Document(f"question {n}", (" no", " yes"), 1) for n in (3, 1, 3, 2)]
    wanted = [(f"question {n}", " yes") for n in (3, 1, 2)]
    found = [answered(word_tokenizer(), documents, count) for count in (0, 2, 9)]
    assert found == [[], wanted[:2], wanted]


ENCODED = [[i] * n for i, n in enumerate([5, 3, 8, 1, 0, 9])]


def test_packing_keeps_every_text_whole() -> None:
    rows = [row[0].tolist() for row in pack(ENCODED, 9)]
    assert sum(rows, []) == sum(ENCODED, []) and all(len(row) <= 9 for row in rows)


@pytest.mark.parametrize("longest", [1, 4, 7, 26, 99])
def test_blocks_are_equally_long_and_lose_next_to_nothing(longest: int) -> None:
    blocks, ids = equal_blocks(ENCODED, longest), sum(ENCODED, [])
    assert len({len(block) for block in blocks}) == 1 and len(blocks[0]) <= longest
    assert sum(blocks, []) == ids[: len(sum(blocks, []))]
    assert len(ids) - len(sum(blocks, [])) < len(blocks)
