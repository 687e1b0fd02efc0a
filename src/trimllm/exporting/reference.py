"""Asks transformers, in a fresh process: what an engine is compared with.

`python -m trimllm.exporting.reference CHECKPOINT question.json answers.json KIND [TYPE]`: KIND is
"as_is", or "stock": by transformers alone, as somebody without trimllm loads it. The second answer
is that of the weights rounded to a type of GGUF.
"""

from __future__ import annotations

import gc
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from gguf import dequantize
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, __version__

from trimllm.base import files
from trimllm.checkpoint import load
from trimllm.exporting.evidence import Answer, Question
from trimllm.exporting.gguf_file import packed, type_of
from trimllm.exporting.layers import Layers, unlaced


@torch.no_grad()
def answer(model: nn.Module, tokenizer: Any, question: Question) -> Answer:
    """What a model says, in float32 on the CPU."""
    places, targets = [], []
    for ids, at in question.rows:
        logits = model(torch.tensor([ids]), use_cache=False).logits[0]
        scored = torch.tensor(at)
        found = logits[scored - 1].float().log_softmax(-1)
        top = found.topk(min(question.top, found.shape[-1]))
        pairs = zip(top.indices.tolist(), top.values.tolist(), strict=True)
        places.append([dict(zip(names, values, strict=True)) for names, values in pairs])
        following = torch.tensor(ids)[scored]
        targets.append(found.gather(1, following[:, None])[:, 0].tolist())
    greedy, gaps = _generate(model, question)
    tokens = [tokenizer(text).input_ids for text in question.texts]
    engine = {"name": "transformers", "transformers": __version__, "torch": torch.__version__}
    return Answer(places, targets, tokens, greedy, gaps, engine)


def _generate(model: nn.Module, question: Question) -> tuple[list[int], list[float]]:
    """Greedy tokens with a cache, and how far ahead of the next one each was; no end of text."""
    prompt = torch.tensor([question.prompt])
    made = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=question.greedy,
        do_sample=False,
        eos_token_id=[],
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    best = torch.cat(made.logits).float().topk(2).values
    return made.sequences[0, prompt.shape[1] :].tolist(), (best[:, 0] - best[:, 1]).tolist()


@torch.no_grad()
def round_(model: nn.Module, layers: Layers, kind: str) -> nn.Module:
    """Give a model the weights that its GGUF file of a kind holds, in place."""
    state = model.state_dict()
    for entry in layers.entries():
        if entry.source is not None:
            stored = torch.from_numpy(dequantize(packed(entry, layers, kind), type_of(entry, kind)))
            plain: Tensor = stored if entry.heads is None else unlaced(stored, entry.heads)
            state[entry.source].copy_(plain)
    return model


def _main(checkpoint: str, question: str, said: str, kind: str, rounded: str = "") -> None:
    gc.freeze()  # imports leave no garbage
    if kind == "stock":
        model = AutoModelForCausalLM.from_pretrained(
            checkpoint, dtype=torch.float32, local_files_only=True, use_safetensors=True
        ).eval()
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    else:
        model, tokenizer = load(checkpoint, verify=False)
    asked = Question(**files.read_json(question))
    answers = [answer(model, tokenizer, asked)]
    if rounded:
        round_(model, Layers(model.config, Path(checkpoint)), rounded)
        answers.append(answer(model, tokenizer, asked))
    files.write_json(said, [asdict(one) for one in answers])


if __name__ == "__main__":
    _main(*sys.argv[1:])
