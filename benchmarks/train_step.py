"""Seconds a training step at r = 1/4 against full fine-tuning, and what operations predict.

Counting matrix products: a forward pass costs 1, the gradient of the activations 1 down to the
lowest trainable block, and the gradient of the weights 1 for every trainable block. The head runs
at the answers' places in both.

    python benchmarks/train_step.py
"""

from __future__ import annotations

from functools import partial

import torch
from common import arguments, load, median_seconds, questions, report
from trimllm.train.loss import answer_loss

from trimllm.base.precision import compute_dtype
from trimllm.train import TrainSettings, set_trainable
from trimllm.train.batching import examples_of, tensors_of
from trimllm.train.loop import _step
from trimllm.train.team import ONE


def main() -> None:
    args = arguments(
        __doc__,
        batch={"type": int, "default": 8, "help": "documents a step (8)"},
        tokens={"type": int, "default": 48, "help": "tokens a document (48)"},
        repeats={"type": int, "default": 5, "help": "steps timed, the median counts (5)"},
    )
    model, tokenizer = load(args.model)
    documents = questions(args.documents, tokenizer, args.batch, args.batch * args.tokens)
    blocks = model.config.num_hidden_layers
    quarter = -(-blocks // 4)
    settings = TrainSettings(learning_rate=1e-5, batch_size=args.batch)
    dtype = compute_dtype("auto")
    examples = examples_of(tokenizer, documents)
    tensors = partial(tensors_of, padding=0, device=torch.device("cpu"))
    batch = tensors(examples)
    tokens = int(batch.mask.sum())
    per_token = 2 * sum(
        p.numel() for n, p in model.named_parameters() if "layers." in n and p.dim() == 2
    )
    head = 2 * model.get_output_embeddings().weight.numel() * len(batch.targets)

    def predicted(trainable: list[int]) -> float:
        lowest = min(trainable)
        share = (blocks - lowest) / blocks
        weights = len(trainable) / blocks
        return per_token * tokens * (1 + share + weights) + 2 * head

    cases = {
        "full": list(range(blocks)),
        "r = 1/4, spread from the lowest block": list(range(0, blocks, 4))[:quarter],
        "r = 1/4, upper half": list(range(blocks // 2, blocks, 2))[:quarter],
        "r = 1/4, last blocks": list(range(blocks - quarter, blocks)),
    }
    rows = {}
    for name, trainable in cases.items():
        model.float()
        set_trainable(model, trainable)
        loss_of = ONE.place(model, dtype, answer_loss)
        parameters = set_trainable(model, trainable)
        optimizer = torch.optim.AdamW(parameters, lr=1e-6, fused=True)
        model.train()
        seconds = median_seconds(
            lambda optimizer=optimizer, loss_of=loss_of: _step(
                loss_of, optimizer, [examples], tensors, settings.clip, dtype, ONE
            ),
            args.repeats,
        )
        rows[name] = {"seconds": seconds, "operations": predicted(trainable)}
        gain = rows["full"]["seconds"] / seconds
        ideal = rows["full"]["operations"] / predicted(trainable)
        reached = (gain - 1) / (ideal - 1) if ideal > 1 else 1.0
        rows[name] |= {"gain": gain, "ideal": ideal, "reached": reached}
        print(
            f"{name:40} {seconds:6.2f} s a step of {tokens} tokens, {gain:.2f} times as fast as"
            f" full; operations allow {ideal:.2f}: {reached:.0%} of the gain",
            flush=True,
        )
    report(benchmark="train_step", rows=rows, dtype=str(dtype))


if __name__ == "__main__":
    main()
