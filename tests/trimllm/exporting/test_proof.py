"""What the proof of an export accepts and refuses."""

from __future__ import annotations

import math

import pytest
from exports import byte_tokenizer

from trimllm.base.errors import UserError
from trimllm.exporting.proof import TEXTS, first_difference, judge, make_question

REFERENCE = {
    "likeliest": [{"1": -0.1, "2": -3.0, "3": -4.0}, {"4": -0.5, "5": -1.0}],
    "targets": [-0.1, -1.0],
    "tokens": [[1, 2], [4]],
    "greedy": [7, 8, 9],
    "gaps": [1.0, 1e-4, 2.0],
    "engine": {},
}


def decide(variant: str = "f32", quantized=None, untrimmed=None, **changed):
    answers = [REFERENCE | changed, REFERENCE, *([quantized] if quantized else [])]
    return judge(variant, answers, ["a text", "another"], [0], untrimmed)


def first(*values: float):
    top = {str(number): value for number, value in enumerate(values, start=1)}
    return {"likeliest": [top, REFERENCE["likeliest"][1]]}


def test_equal_answers_agree() -> None:
    found = decide()
    assert found["largest_difference"] == 0 and found["greedy_differs_at"] is None
    assert found["loss"] == {"checkpoint": 0.55, "engine": 0.55}


@pytest.mark.parametrize("variant", ["f32", "vllm", "padded"])
@pytest.mark.parametrize(
    "changed, why",
    [
        (first(-0.1, -2.95, -4.0), "differ by up to 0.050"),
        (first(-0.1, -3.05, -4.0), "differ by up to 0.050"),
        (first(-0.1, math.nan, -4.0), "inf nats"),
        (first(-0.1, -3.0), "inf nats"),  # the third token is not reported
        ({"tokens": [[1, 2], [5]]}, "splits 'another' into other tokens"),
        ({"greedy": [7, 8, 1]}, "from token 2 on"),
    ],
)
def test_answers_that_differ_are_refused(variant: str, changed, why: str) -> None:
    with pytest.raises(UserError, match=f"as {variant} is broken and was not kept: .*{why}"):
        decide(variant, **changed)


@pytest.mark.parametrize(
    "greedy, ends, at",
    [
        ([7, 8, 9], [], None),
        ([7, 3, 4], [], None),  # two logits within 1e-3
        ([6, 8, 9], [], 0),
        ([7, 8, 1], [], 2),
        ([7, 8], [], 2),
        ([7, 8], [9], None),
        ([7, 8, 1], [9], 2),
        ([7, 8, 1], [8], None),
    ],
)
def test_greedy_generation_may_differ_at_a_tie_and_after_an_end(greedy, ends, at) -> None:
    assert first_difference({"greedy": greedy}, REFERENCE, ends) == at


def test_the_growth_of_the_loss_is_measured_by_the_untrimmed_model() -> None:
    def lost(loss: float):
        return {"targets": [-loss, -loss]}

    def quantized(loss: float):
        return REFERENCE | lost(loss)

    # 0.35 lost: more than the margin of 0.25, less than it and the untrimmed model's 0.2.
    found = decide("q4_0", quantized(0.88), (2.0, 2.2), **lost(0.9))
    assert found["loss"]["untrimmed_rounded"] == 2.2
    assert found["growth_allowed"] == pytest.approx(0.45)
    assert decide("q4_0", quantized(0.88), **lost(0.9))["growth_allowed"] is None
    with pytest.raises(UserError, match="raises its loss by 0.350 .* 0.250 is allowed"):
        decide("q4_0", quantized(0.88), (2.0, 1.9), **lost(0.9))
    with pytest.raises(UserError, match="its loss in the engine is 0.900"):
        decide("q4_0", quantized(0.5), **lost(0.9))


def test_a_question_scores_answers_and_ends_of_texts() -> None:
    tokenizer = byte_tokenizer()
    asked = make_question(tokenizer, [("Question: one?\nAnswer:", " two"), TEXTS[0]], 40)
    (pair, answer), (text, positions) = asked["rows"]
    assert tokenizer.decode(pair[answer[0] :]) == " two" and answer[-1] == len(pair) - 1
    assert len(text) == 40 and positions[-1] == 39 and len(positions) == 6 and positions[0] >= 1
    assert asked["texts"][0] == "Question: one?\nAnswer: two"
    assert len(asked["prompt"]) + asked["greedy"] <= 40 == asked["longest"]
    with pytest.raises(UserError, match="no two tokens in a row"):
        make_question(tokenizer, ["a"], 40)
