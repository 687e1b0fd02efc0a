"""transformers in float32 on the CPU: reference of every proof, engine of padded exports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from gguf import dequantize
from torch import nn
from transformers import __version__

from trimllm.checkpoint import load
from trimllm.exporting.gguf_file import entries, packed, type_of


class Worker:
    """A checkpoint (see `trimllm.exporting.engines`)."""

    def __init__(self, path: str, threads: int, context: int) -> None:
        torch.set_num_threads(threads)
        self.model, self.tokenizer = load(path, verify=False)
        self.facts: dict[str, Any] = {}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer to the question of a proof (see `trimllm.exporting.proof`)."""
        return answer(self.model, self.tokenizer, question)


@torch.no_grad()
def answer(model: nn.Module, tokenizer: Any, question: Mapping[str, Any]) -> dict[str, Any]:
    """Answer of a model in memory."""
    likeliest, targets = [], []
    for ids, positions in question["rows"]:
        scored, ids = torch.tensor(positions), torch.tensor(ids)
        logits = model(ids[None], use_cache=False).logits[0, scored - 1]
        values = logits.float().log_softmax(-1)
        top = values.topk(question["top"])
        for tokens, best in zip(top.indices.tolist(), top.values.tolist(), strict=True):
            likeliest.append(dict(zip(map(str, tokens), best, strict=True)))
        targets += values.gather(1, ids[scored][:, None])[:, 0].tolist()
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
    best = torch.cat(generated.logits).float().topk(2).values
    return {
        "likeliest": likeliest,
        "targets": targets,
        "tokens": [tokenizer(text).input_ids for text in question["texts"]],
        "greedy": generated.sequences[0, prompt.shape[1] :].tolist(),
        "gaps": (best[:, 0] - best[:, 1]).tolist(),
        "engine": {
            "name": "transformers",
            "transformers": __version__,
            "torch": torch.__version__,
        },
    }


@torch.no_grad()
def quantize_(model: nn.Module, kind: str) -> None:
    """Give a model the weights that its GGUF file of a type holds, in place."""
    state = dict(model.named_parameters())
    for entry in entries(model):
        if entry.source is not None:
            # Rows are quantized one by one: their order does not matter.
            rows = packed(replace(entry, heads=None), state, kind)
            state[entry.source].copy_(torch.from_numpy(dequantize(rows, type_of(entry, kind))))
