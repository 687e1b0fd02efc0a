"""Accuracies are those of lm-eval's own HFLM on the same documents; free answers are greedy
decoding, their metrics follow their definitions."""

import pytest
import torch
from lm_eval.models.huggingface import HFLM
from models import FAMILIES, random_documents, tiny, word_tokenizer

from trimllm import checkpoint
from trimllm.base.errors import UserError
from trimllm.data import Document, write_documents
from trimllm.evaluate import evaluate
from trimllm.evaluate.run import compare, ends_of, samples_of
from trimllm.score.encode import encode_pair
from trimllm.sublayers import Unit

DOCUMENTS = random_documents(20, seed=8)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_lm_eval(family, tmp_path):
    model = tiny(family, dropped=[Unit(1, "attention"), Unit(4, "mlp")])
    write_documents(tmp_path / "docs.jsonl", DOCUMENTS)
    tasks = {"mine": tmp_path / "docs.jsonl"}
    result = evaluate(model, word_tokenizer(), tasks, batch_tokens=50)["mine"]
    stock = HFLM(pretrained=model, tokenizer=word_tokenizer(), batch_size=1)
    samples = samples_of(stock, "mine", DOCUMENTS)
    assert result["correct"] == [sample["acc"] for sample in samples]
    # The choice with the highest summed log-likelihood, against the document's own answer.
    for one, sample in zip(DOCUMENTS, samples, strict=True):
        sums = [score for score, _ in sample["filtered_resps"]]
        assert sample["acc"] == float(sums.index(max(sums)) == one.answer)
    assert result["n"] == 20 and result["acc"] == pytest.approx(5 * sum(result["correct"]))
    assert result["chance"] == pytest.approx(100 / 3)
    assert result["ci95"][0] <= result["acc"] <= result["ci95"][1]
    # lm-eval reports no loss, but the likelihood of every choice.
    nats = -sum(sample["filtered_resps"][sample["target"]][0] for sample in samples)
    answers = [encode_pair(word_tokenizer(), d.prompt, d.choices[d.answer])[1] for d in DOCUMENTS]
    assert result["answer_loss"] == pytest.approx(nats / sum(map(len, answers)), abs=1e-4)


def test_free_answers_of_a_streamed_model_are_refused(tmp_path):
    path = checkpoint.save(tiny("opt"), word_tokenizer(), tmp_path / "m")
    write_documents(tmp_path / "docs.jsonl", random_documents(2, choices=1))
    with pytest.raises(UserError, match="set compute.weights_on: device"):
        evaluate(*checkpoint.load_streamed(path), {"mine": tmp_path / "docs.jsonl"})


# ---- free answers ----


@pytest.mark.parametrize(
    ("answer", "reference", "exact", "f1", "rouge_l"),
    [
        (" The Cat!\n", "the cat", 1, 1, 1),  # case, punctuation and blanks do not matter
        ("a cat", "the cat", 0, 1, 0.5),  # articles do not in F1
        ("mat sat cat", "cat sat dog", 0, 2 / 3, 1 / 3),
        ("", "cat", 0, 0, 0),
        ("<think>\n\n</think>\n\ndog", "<think>\n\n</think>\n\ncat", 0, 0, 0),
    ],
)
def test_metrics_of_free_answers(answer, reference, exact, f1, rouge_l):
    expected = {"exact_match": exact, "token_f1": f1, "rouge_l": rouge_l}
    assert compare(answer, reference) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answers", "ends"),
    [([" one", " two "], ["\n"]), ([" one\ntwo"], ["\n\n"]), ([" one\n\ntwo", " a"], [])],
)
def test_generation_ends_where_no_reference_goes_on(answers, ends):
    assert ends_of([Document("p", (answer,), 0) for answer in answers]) == ends


@torch.no_grad()
def written(model: torch.nn.Module, prompt: str, most: int) -> str:
    """Greedy decoding without a cache, a token at a time."""
    tokenizer = word_tokenizer()
    ids = tokenizer.encode(prompt)
    start = len(ids)
    while len(ids) - start < most:
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


@torch.no_grad()
def loss_of(model: torch.nn.Module, documents: list[Document]) -> float:
    """Mean loss of the answers' tokens and of the end that follows each, nats a token."""
    tokenizer, losses = word_tokenizer(), []
    for one in documents:
        prompt = tokenizer.encode(one.prompt)
        answer = [*tokenizer.encode(one.choices[0]), tokenizer.eos_token_id]
        scores = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        losses += (-scores.log_softmax(-1)[range(len(answer)), answer]).tolist()
    return sum(losses) / len(losses)


def test_greedy_answers_are_compared(tmp_path):
    """In a batch, with a cache, of a trimmed model."""
    model = tiny("opt", dropped=[Unit(1, "attention"), Unit(3, "mlp")])
    documents = random_documents(6, choices=1)
    # One that is right, and one that is nearly.
    right = written(model, documents[0].prompt, 4)
    documents[0] = Document(documents[0].prompt, (" " + right,), 0)
    first = " ".join(written(model, documents[1].prompt, 4).split()[:2])
    documents[1] = Document(documents[1].prompt, (f" {first} w1 w2",), 0)
    write_documents(tmp_path / "free.jsonl", documents)
    tasks = {"mine": tmp_path / "free.jsonl"}
    result = evaluate(model, word_tokenizer(), tasks, answer_tokens=4)["mine"]
    expected = [compare(written(model, one.prompt, 4), one.choices[0]) for one in documents]
    for metric, values in result["answers"]["by_document"].items():
        assert values == pytest.approx([one[metric] for one in expected])
        assert result["answers"][metric] == pytest.approx(100 * sum(values) / 6)
    assert result["correct"] == [int(one["exact_match"]) for one in expected]
    assert result["correct"][0] == 1 and result["answers"]["by_document"]["token_f1"][1] > 0
    assert result["acc"] == pytest.approx(result["answers"]["exact_match"])
    assert result["chance"] is None and result["n"] == 6
    assert result["answer_loss"] == pytest.approx(loss_of(model, documents), abs=1e-4)


def test_prompts_are_rendered_by_the_chat_template(tmp_path):
    model, tokenizer = tiny("llama"), word_tokenizer()
    prompts = [one.prompt for one in random_documents(4, choices=1)]
    answers = [(" " + written(model, prompt, 2),) for prompt in prompts]
    tokenizer.chat_template = "{% for m in messages %}{{m.content}} {% endfor %}"
    pairs, tasks = list(zip(prompts, answers, strict=True)), {}
    for name in ("plain", "chats"):
        tasks[name] = tmp_path / f"{name}.jsonl"
    write_documents(tasks["plain"], [Document(prompt, answer, 0) for prompt, answer in pairs])
    chats = [Document("w1", answer, 0, (("user", prompt),)) for prompt, answer in pairs]
    write_documents(tasks["chats"], chats)
    first, second = evaluate(model, tokenizer, tasks, answer_tokens=3).values()
    assert first["answers"]["by_document"] == second["answers"]["by_document"]
    assert first["answers"]["token_f1"] > 0
