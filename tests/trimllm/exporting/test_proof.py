"""What the proof of an export accepts and refuses."""

import math

import pytest
import torch
from exports import byte_tokenizer, tiny_model

from trimllm.base.errors import UserError
from trimllm.exporting.proof import TEXTS, answer, judge, make_question

REFERENCE = {
    "likeliest": [{"1": -0.1, "2": -3.0, "3": -4.0}, {"4": -0.5, "5": -1.0}],
    "targets": [-0.1, -1.0],
    "tokens": [[1, 2], [4]],
    "greedy": [7, 8],
    "engine": {},
}


def decide(variant: str = "f32", quantized=None, **changed):
    references = [REFERENCE, *([REFERENCE | quantized] if quantized else [])]
    return judge(variant, REFERENCE | changed, references, ["a text", "another"])


def first(*values: float):
    top = {str(number): value for number, value in enumerate(values, start=1)}
    return {"likeliest": [top, REFERENCE["likeliest"][1]]}


def lost(loss: float):
    return {"targets": [-loss, -loss]}


def test_equal_answers_agree_whatever_follows_the_end_of_a_text():
    record = decide(greedy=[7, 8, 1])
    assert record["largest_difference"] == 0 and record["greedy_differs_at"] is None
    assert record["loss"]["checkpoint"] == record["loss"]["engine"] == 0.55


@pytest.mark.parametrize(
    "changed, why",
    [
        (first(-0.1, -2.95, -4.0), "differ by up to 0.050"),
        (first(-0.1, -3.05, -4.0), "differ by up to 0.050"),
        (first(-0.1, math.nan, -4.0), "nan nats"),
        (first(-0.1, -3.0), "up to 1.000 nats"),  # the third token is not reported
        ({"tokens": [[1, 2], [5]]}, "splits 'another' into other tokens"),
        ({"greedy": [7, 9]}, "from token 1 on"),
        ({"greedy": [7]}, "from token 1 on"),
    ],
)
def test_answers_that_differ_are_refused(changed, why):
    for variant in ("f32", "vllm", "padded"):
        with pytest.raises(UserError, match=f"as {variant} is broken and was not kept: .*{why}"):
            decide(variant, **changed)


def test_a_quantized_file_has_the_loss_of_its_weights():
    assert decide("q4_0", lost(0.88), **lost(0.9))["loss"]["same_weights"] == 0.88
    with pytest.raises(UserError, match="its loss in the engine is 0.900"):
        decide("q4_0", lost(0.5), **lost(0.9))
    with pytest.raises(UserError, match="raises its loss by 0.650 .* choose a wider type"):
        decide("q4_0", lost(1.2), **lost(1.2))


def test_a_question_scores_answers_and_ends_of_texts():
    tokenizer = byte_tokenizer()
    question = make_question(tokenizer, [("Question: one?\nAnswer:", " two"), TEXTS[0]], 40)
    (pair, scored), (text, positions) = question["rows"]
    assert tokenizer.decode(pair[scored[0] :]) == " two" and scored[-1] == len(pair) - 1
    assert len(text) == 40 and positions[-1] == 39 and len(positions) == 6 and positions[0] >= 1
    assert question["texts"][0] == "Question: one?\nAnswer: two"
    assert len(question["prompt"]) + question["greedy"] == 40
    with pytest.raises(UserError, match="no two tokens in a row"):
        make_question(tokenizer, ["a"], 40)


def test_generation_is_compared_up_to_a_tie_or_an_end():
    model, tokenizer = tiny_model("llama"), byte_tokenizer()
    question = make_question(tokenizer, TEXTS[:1], 100)
    ids = torch.tensor([question["prompt"]])
    options = {"attention_mask": torch.ones_like(ids), "do_sample": False, "eos_token_id": []}
    options |= {"max_new_tokens": question["greedy"], "pad_token_id": 0}
    whole = model.generate(ids, **options)[0, ids.shape[1] :].tolist()
    greedy = answer(model, tokenizer, question)["greedy"]
    assert len(greedy) > 3 and greedy == whole[: len(greedy)]
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(greedy[2])
    assert answer(model, tokenizer, question)["greedy"] == greedy[: greedy.index(greedy[2])]
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.clone())
    head.weight.data[greedy[0] - 1] = head.weight.data[greedy[0]]  # two tokens with equal logits
    assert answer(model, tokenizer, question)["greedy"] == []
