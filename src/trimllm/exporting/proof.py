"""Proof of an export: its engine, in a fresh process, and transformers must agree about tokens of
held-back texts, log-probabilities at some positions of them, and 64 tokens of greedy generation
with a cache."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from trimllm.base.errors import UserError
from trimllm.compress.run import HeldBack, scored_rows
from trimllm.exporting.formats import LLAMA, start_engine

Record = dict[str, Any]

POSITIONS = 6  # of a text, at which log-probabilities are compared
COMPARED, REPORTED = 5, 64  # of the likeliest tokens at a position
GREEDY = 64  # tokens of greedy generation
TIE = 1e-3  # logits that are closer are tied: an engine may generate either token
EXACT = ("f32", "vllm", "padded")  # computed in float32: greedy generation is the same
# Largest and mean difference of log-probabilities, nats, by format. llama.cpp rounds inputs of a
# product to the type of its matrix: correct files of SmolLM2 differ by 0.0002, 0.019, 0.09.
LIMITS = {**dict.fromkeys(EXACT, (0.02, 0.02)), "f16": (0.05, 0.02), "bf16": (0.2, 0.1)}
LIMITS |= dict.fromkeys(("q8_0", "q4_0"), (2.0, 0.4))
# Margins of the loss of a quantized file, nats a token: around that of its weights in transformers,
# and by which quantization may raise it. Both grow by 1% of the loss.
SAME_WEIGHTS = {"q8_0": 0.05, "q4_0": 0.25}
MAX_GROWTH = 0.5
TEXTS = (
    "The lighthouse keeper climbed the 217 steps every evening, and every morning he came down.",
    "Question: What do plants take in from the air to make sugar?\nAnswer: carbon dioxide",
    "In 1969, two people walked on the Moon; about 600 million watched them on television.",
    "def area(radius):\n    return 3.14159 * radius ** 2\n\nprint(area(10))",
    "Der Fluss fließt langsam durch das weite Tal – naïve cafés, 42 Boote, und 7 Brücken.",
    "A contract is an agreement between parties that creates duties, which a court enforces.",
)


def make_question(tokenizer: Any, held_back: Sequence[HeldBack], longest: int) -> Record:
    """Question about held-back texts, or prompts with their answers, cut to `longest` tokens:
    `rows`, pairs of token ids and the positions whose tokens are scored; `texts` to tokenize;
    `prompt`, token ids that generation continues, and by how many, `greedy`; `top`, number of
    log-probabilities to report of a position."""
    rows = []
    for ids, first in scored_rows(tokenizer, held_back, longest):
        spread = np.linspace(first, len(ids) - 1, POSITIONS, dtype=int)
        rows.append((ids, sorted({*spread.tolist()})))
    ids, positions = rows[0]
    greedy = min(GREEDY, longest - 1)
    return {
        "rows": rows,
        "texts": [one if isinstance(one, str) else "".join(one) for one in held_back],
        "prompt": ids[: positions[0]][greedy - longest :],
        "greedy": greedy,
        "top": REPORTED,
        "longest": longest,
    }


def ask(engine: str, path: str | Path, question: Record, threads: int = 1) -> Record:
    """Answer of llama.cpp or vLLM about a GGUF file or a checkpoint, from a process of its own: by
    scored position `likeliest`, the likeliest tokens' log-probabilities (nats) by token id as text,
    and `targets`, that of the token that is there; `tokens` of each text; `greedy`, generated
    tokens; `engine`, versions."""
    options = {"exact": True} if engine == LLAMA else {"top": REPORTED}
    try:
        with start_engine(engine, path, threads, context=question["longest"] + 8, **options) as it:
            return it.ask("answer", question)
    except UserError as error:
        raise UserError(f"the export does not run and was not kept: {error}") from error


@torch.no_grad()
def answer(model: nn.Module, tokenizer: Any, question: Record) -> Record:
    """Answer of transformers; its `greedy` has what every engine must generate: the tokens before a
    tie, or before one that may end a text."""
    likeliest, targets = [], []
    for ids, positions in question["rows"]:
        scored, row = torch.tensor(positions), torch.tensor([ids])
        logits = model(row, use_cache=False).logits[0, scored - 1]
        values = logits.float().log_softmax(-1)
        top = values.topk(question["top"])
        for tokens, best in zip(top.indices.tolist(), top.values.tolist(), strict=True):
            likeliest.append(dict(zip(map(str, tokens), best, strict=True)))
        targets += values.gather(1, row[0, scored][:, None])[:, 0].tolist()
    prompt = torch.tensor([question["prompt"]])
    generated = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=question["greedy"],
        do_sample=False,
        eos_token_id=[],
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    values, ids = torch.cat(generated.logits).float().topk(2)
    ends = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    greedy: list[int] = []
    for (token, _), (first, second) in zip(ids.tolist(), values.tolist(), strict=True):
        if token in ends or first - second < TIE:
            break
        greedy.append(token)
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    return {
        "likeliest": likeliest,
        "targets": targets,
        "tokens": [tokenizer(text).input_ids for text in question["texts"]],
        "greedy": greedy,
        "engine": {"name": "transformers", **versions},
    }


def mean_loss(answer: Record) -> float:
    """Mean negative log-likelihood of the scored tokens, nats a token."""
    return -math.fsum(answer["targets"]) / len(answer["targets"])


def judge(
    variant: str, engine: Record, references: Sequence[Record], texts: Sequence[str]
) -> Record:
    """Record of a proof, by the answer of an engine, those of transformers (about the checkpoint,
    and of a quantized file also with its weights) and the question's texts. `variant`: "f16",
    "q4_0", ..., "vllm" or "padded". `UserError` if answers differ by more than its margin."""
    reference, compared, apart = references[0], references[-1], list[float]()
    for theirs, ours in zip(engine["likeliest"], compared["likeliest"], strict=True):
        least = min(theirs.values())  # what the engine does not report counts as this
        top = sorted(ours, key=ours.__getitem__)[-COMPARED:]
        apart.append(np.max([abs(theirs.get(token, least) - ours[token]) for token in top]))
    largest, mean = float(np.max(apart)), float(np.mean(apart))
    expected = list(enumerate(compared["greedy"]))
    differs_at = next((at for at, one in expected if engine["greedy"][at : at + 1] != [one]), None)
    tokens = zip(texts, engine["tokens"], reference["tokens"], strict=True)
    split = [text for text, theirs, ours in tokens if theirs != ours]
    loss = {"checkpoint": mean_loss(reference), "engine": mean_loss(engine)}
    loss["same_weights"] = mean_loss(compared)
    slack = 0.01 * loss["same_weights"]  # a loss is 27 nats on texts that are foreign to a model
    growth, why = loss["engine"] - loss["checkpoint"], None
    limit = LIMITS[variant]
    if split:
        why = f"the engine splits {split[0][:60]!r} into other tokens"
    elif not (largest <= limit[0] and mean <= limit[1]):  # a NaN fails
        why = (
            f"log-probabilities differ by up to {largest:.3f} nats from transformers', by "
            f"{mean:.3f} on average; {limit[0]:g} and {limit[1]:g} are allowed"
        )
    elif variant in EXACT and differs_at is not None:
        why = f"greedy generation differs from token {differs_at} on"
    elif not abs(loss["engine"] - loss["same_weights"]) <= SAME_WEIGHTS.get(variant, 1) + slack:
        why = (
            f"its loss in the engine is {loss['engine']:.3f}, that of the same weights in "
            f"transformers {loss['same_weights']:.3f}"
        )
    elif growth > MAX_GROWTH + slack:
        why = f"quantization raises its loss by {growth:.3f} nats a token; choose a wider type"
    if why:
        raise UserError(f"the export as {variant} is broken and was not kept: {why}")
    return {
        "positions": len(apart),
        "largest_difference": largest,
        "mean_difference": mean,
        "loss": loss,
        "greedy_tokens": len(expected),
        "greedy_differs_at": differs_at,
        "engine": engine["engine"],
        "reference": reference["engine"],
    }
