"""Asks vLLM: `python vllm_worker.py CHECKPOINT question.json answers.json THREADS CACHE`, the last
in bytes.

Needs vLLM and nothing else, in an environment of its own (envs/README.md); what question and answer
are, `trimllm.exporting.evidence` says. The checkpoint's own modeling file is what vLLM runs, by its
Transformers backend; what is asked is whether that is right, in float32.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from vllm import LLM, SamplingParams, __version__


def main(checkpoint: str, question: str, answer: str, threads: str, cache: str) -> None:
    """Answer a question."""
    torch.set_num_threads(int(threads))
    asked = json.loads(Path(question).read_text(encoding="utf-8"))
    rows, prompt = asked["rows"], asked["prompt"]
    config = json.loads(Path(checkpoint, "config.json").read_text(encoding="utf-8"))
    top = min(asked["top"], config["vocab_size"])
    longest = max([len(prompt) + asked["greedy"], *(len(ids) + 1 for ids, _ in rows)])
    engine = LLM(
        model=checkpoint,
        model_impl="transformers",
        trust_remote_code=True,
        dtype="float32",
        enforce_eager=True,
        enable_prefix_caching=False,
        generation_config="vllm",  # nothing but what is asked here changes a probability
        max_logprobs=top,
        max_model_len=longest,
        max_num_seqs=1,
        kv_cache_memory_bytes=int(cache),
        disable_log_stats=True,
    )

    def ask(ids: list[int], **how: Any) -> Any:
        params = SamplingParams(temperature=0.0, ignore_eos=True, detokenize=False, **how)
        return engine.generate([{"prompt_token_ids": ids}], params, use_tqdm=False)[0]

    # At each place of a prompt: the likeliest tokens, and the one that stands there.
    told = [ask(ids, max_tokens=1, prompt_logprobs=top).prompt_logprobs for ids, _ in rows]
    found = [
        [{token: one.logprob for token, one in row[place].items()} for place in places]
        for row, (_, places) in zip(told, rows, strict=True)
    ]
    start = time.perf_counter()
    greedy = ask(prompt, max_tokens=asked["greedy"]).outputs[0].token_ids
    seconds = time.perf_counter() - start
    tokenizer = engine.get_tokenizer()
    said = {
        "places": found,
        "targets": [
            [place[ids[at]] for place, at in zip(row, places, strict=True)]
            for row, (ids, places) in zip(found, rows, strict=True)
        ],
        "tokens": [tokenizer(text).input_ids for text in asked["texts"]],
        "greedy": list(greedy),
        "engine": {
            "name": "vLLM",
            "vllm": __version__,
            "transformers": transformers.__version__,
            "torch": torch.__version__,
        },
    }
    print(f"{len(greedy) / seconds:.1f} tokens/s", file=sys.stderr)
    Path(answer).write_text(json.dumps([said]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
