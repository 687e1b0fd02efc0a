"""vLLM's answer to the question of an export's proof (see `trimllm.exporting.proof`): the
checkpoint's own modeling file in the Transformers backend, in float32, without trimllm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from vllm import LLM, SamplingParams, __version__


class Worker:
    """Its facts are the answer about a checkpoint."""

    def __init__(self, path: str, question: dict[str, Any], threads: int) -> None:
        torch.set_num_threads(threads)
        config = json.loads(Path(path, "config.json").read_text(encoding="utf-8"))
        top, tokens = min(question["top"], config["vocab_size"]), question["longest"] + 1
        # Keys and values in float32, twice: vLLM assigns whole blocks. Shared heads take less.
        cache = 2 * 2 * 4 * config["num_hidden_layers"] * config["hidden_size"] * tokens
        engine = LLM(
            model=path,
            model_impl="transformers",
            trust_remote_code=True,
            dtype="float32",
            enforce_eager=True,
            enable_prefix_caching=False,
            generation_config="vllm",  # no sampling option of the checkpoint applies
            max_logprobs=top,
            max_model_len=tokens,
            max_num_seqs=1,
            kv_cache_memory_bytes=max(1 << 28, cache),
            disable_log_stats=True,
        )

        def generate(ids: list[int], **options: Any) -> Any:
            params = SamplingParams(temperature=0.0, ignore_eos=True, detokenize=False, **options)
            return engine.generate([{"prompt_token_ids": ids}], params, use_tqdm=False)[0]

        likeliest, targets = [], []
        for ids, positions in question["rows"]:
            # By position: the likeliest tokens, and the one that is there.
            found = generate(ids, max_tokens=1, prompt_logprobs=top).prompt_logprobs
            for position in positions:
                likeliest.append({token: one.logprob for token, one in found[position].items()})
                targets.append(found[position][ids[position]].logprob)
        tokenizer = engine.get_tokenizer()
        greedy = generate(question["prompt"], max_tokens=question["greedy"])
        answer = {
            "likeliest": likeliest,
            "targets": targets,
            "tokens": [tokenizer(text).input_ids for text in question["texts"]],
            "greedy": list(greedy.outputs[0].token_ids),
            "engine": {
                "name": "vLLM",
                "vllm": __version__,
                "transformers": transformers.__version__,
                "torch": torch.__version__,
            },
        }
        self.facts = [answer]
