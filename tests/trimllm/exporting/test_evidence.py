"""What an export's proof accepts and refuses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from exports import byte_tokenizer

from trimllm.base.errors import UserError
from trimllm.exporting.evidence import TEXTS, Answer, differences, first_difference, judge, question

REFERENCE = Answer(
    places=[[{1: -0.1, 2: -3.0, 3: -4.0}], [{4: -0.5, 5: -1.0}]],
    targets=[[-0.1], [-1.0]],
    tokens=[[1, 2], [4]],
    greedy=[7, 8, 9],
    gaps=[1.0, 1e-4, 2.0],
)
TWO = ["a text", "another"]


def decide(variant: str = "f32", engine: Answer = REFERENCE, **options) -> dict[str, object]:
    return judge(variant, engine, REFERENCE, texts=TWO, ends=[0], **options)


def test_an_engine_that_says_the_same_is_right() -> None:
    found = decide()
    assert found["largest_difference"] == 0 and found["greedy_differs_at"] is None
    assert found["loss"] == {"checkpoint": 0.55, "engine": 0.55}


@pytest.mark.parametrize("wrong", [0.05, -0.05, math.nan])
def test_a_log_probability_that_differs_is_refused(wrong: float) -> None:
    places = [[{1: -0.1, 2: -3.0 + wrong, 3: -4.0}], REFERENCE.places[1]]
    with pytest.raises(UserError, match="is broken and was not kept: log-probabilities differ"):
        decide(engine=replace(REFERENCE, places=places))


def test_a_likely_token_that_an_engine_does_not_name_is_refused() -> None:
    engine = replace(REFERENCE, places=[[{1: -0.1, 2: -3.0}], REFERENCE.places[1]])
    assert differences(engine, REFERENCE) == [math.inf, 0.0]
    with pytest.raises(UserError, match="inf nats"):
        decide(engine=engine)


def test_other_tokens_of_a_text_are_refused_by_the_text() -> None:
    with pytest.raises(UserError, match="cuts 'another' into other tokens"):
        decide(engine=replace(REFERENCE, tokens=[[1, 2], [5]]))


@pytest.mark.parametrize(
    "greedy, at",
    [
        ([7, 8, 9], None),
        ([7, 3, 4], None),  # two logits lie within 1e-3
        ([6, 8, 9], 0),
        ([7, 8, 1], 2),
        ([7, 8], 2),  # it stopped where nothing ends
    ],
)
def test_greedy_generation_may_part_at_a_tie_alone(greedy: list[int], at: int | None) -> None:
    engine = replace(REFERENCE, greedy=greedy)
    assert first_difference(engine, REFERENCE, [0]) == at
    if at is not None:
        for variant in ("f32", "vllm", "padded"):
            with pytest.raises(UserError, match=f"another way at token {at}"):
                decide(variant, engine=engine)


def test_an_engine_may_stop_where_transformers_ends_the_text() -> None:
    assert first_difference(replace(REFERENCE, greedy=[7, 8]), REFERENCE, [9]) is None


def test_rounding_is_measured_by_the_untrimmed_models() -> None:
    def lost(loss: float) -> Answer:
        return replace(REFERENCE, targets=[[-loss], [-loss]])

    engine, rounded = lost(0.9), lost(0.88)
    # 0.35 lost: more than 0.25 alone allow, less than the untrimmed model's 0.2 and these.
    found = decide("q4_0", engine, rounded=rounded, untrimmed=(2.0, 2.2))
    assert found["loss"]["untrimmed_rounded"] == 2.2
    assert found["growth_allowed"] == pytest.approx(0.45)
    # Of a model that nobody gave there is nothing to compare with, and the record says so.
    assert decide("q4_0", engine, rounded=rounded)["growth_allowed"] is None
    with pytest.raises(UserError, match="rounding raises its loss by 0.350 .* 0.250 is allowed"):
        decide("q4_0", engine, rounded=rounded, untrimmed=(2.0, 1.9))
    with pytest.raises(UserError, match="its loss in the engine is 0.900"):
        decide("q4_0", engine, rounded=lost(0.5))


def test_a_question_is_about_answers_and_ends_of_texts() -> None:
    tokenizer = byte_tokenizer()
    asked = question(tokenizer, [("Question: one?\nAnswer:", " two"), TEXTS[0]], 40)
    (pair, answer), (text, places) = asked.rows
    assert tokenizer.decode(pair[answer[0] :]) == " two" and answer[-1] == len(pair) - 1
    assert len(text) == 40 and places[-1] == 39 and len(places) == 6 and places[0] >= 1
    assert asked.texts[0] == "Question: one?\nAnswer: two"
    assert len(asked.prompt) + asked.greedy <= 40
    with pytest.raises(UserError, match="no two tokens in a row"):
        question(tokenizer, ["a"], 40)
