"""llama.cpp's answer to the question of an export's proof (see `trimllm.exporting.proof`).

The cache is float32 and attention the plain one: a cache in 16 bits alone moves log-probabilities
by 0.02 to 0.04 nats. llama.cpp ends a process that it cannot serve.
"""

from __future__ import annotations

import json
import math
import urllib.request
from importlib.metadata import version
from typing import Any

import xllamacpp


class LlamaCpp:
    """A llama.cpp server in this process, for `parallel` texts of `context` tokens each.

    Args:
        exact: with a float32 cache and the plain attention, else with llama.cpp's own choice.
    """

    def __init__(
        self,
        model: str,
        context: int,
        threads: int,
        *,
        exact: bool,
        parallel: int = 1,
    ) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = model
        params.n_ctx, params.n_parallel, params.n_gpu_layers = context * parallel, parallel, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.warmup, params.verbosity, params.fit_params = False, 0, False
        if exact:
            plain = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            params.flash_attn_type = plain
        self.server = xllamacpp.Server(params)
        self.letter = self.post("/tokenize", {"content": "a"})["tokens"][-1]

    def post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """A reply of the server."""
        request = urllib.request.Request(
            self.server.listening_address + path,
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=3600) as reply:
            return json.load(reply)

    def complete(self, ids: list[int], tokens: int, **options: Any) -> dict[str, Any]:
        """Greedy completion of token ids; of several lists, a list of them."""
        content = {"prompt": ids, "n_predict": tokens, "temperature": -1.0, "cache_prompt": True}
        return self.post("/completion", content | {"return_tokens": True} | options)

    def likeliest(self, ids: list[int], top: int) -> dict[int, float]:
        """Log-probabilities of the `top` likeliest tokens after `ids`."""
        # The server reports them with a token that it can show: not the end of a text or half a
        # letter. A bias chooses one; it leaves these log-probabilities as they are.
        reply = self.complete(ids, 1, n_probs=top, logit_bias=[[self.letter, 1e6]])
        position = reply["completion_probabilities"][0]
        values = [(one["id"], one["logprob"]) for one in position["top_logprobs"]]
        return {token: math.nan if value is None else value for token, value in values}


class Worker:
    """Its facts are the answer about a GGUF file."""

    def __init__(self, path: str, question: dict[str, Any], threads: int) -> None:
        engine = LlamaCpp(path, question["longest"] + 8, threads, exact=True)
        likeliest, targets = [], []
        for ids, positions in question["rows"]:
            for position in positions:
                before, target = ids[:position], ids[position]
                top = engine.likeliest(before, question["top"])
                every = top if target in top else engine.likeliest(before, 1 << 20)
                likeliest.append(top)
                targets.append(every[target])
        options = {"add_special": True, "parse_special": True}
        answer = {
            "likeliest": likeliest,
            "targets": targets,
            "tokens": [
                engine.post("/tokenize", {"content": text, **options})["tokens"]
                for text in question["texts"]
            ],
            "greedy": engine.complete(question["prompt"], question["greedy"])["tokens"],
            "engine": {"name": "llama.cpp", "xllamacpp": version("xllamacpp")},
        }
        self.facts = [answer]
