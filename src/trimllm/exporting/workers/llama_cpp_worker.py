"""llama.cpp, by its server in the wheel xllamacpp. It ends a process that it cannot serve."""

import json
import math
import re
import time
import urllib.request
from importlib.metadata import version
from typing import Any

import xllamacpp


class Worker:
    """A server for `parallel` texts of `context` tokens each (see `formats.start_engine`). `exact`:
    with a float32 cache; one of 16 bits moves log-probabilities by 0.02 to 0.04 nats."""

    def __init__(
        self, path: str, threads: int, context: int, parallel: int = 1, exact: bool = False
    ) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = path
        params.n_ctx, params.n_parallel, params.n_gpu_layers = context * parallel, parallel, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.warmup, params.verbosity, params.fit_params = False, 0, False
        if exact:
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server, installed = xllamacpp.Server(params), version("xllamacpp")
        self.facts: dict[str, Any] = {
            "version": f"xllamacpp {installed}",
            "versions": {"xllamacpp": installed},
            # What it was built with and can use: "CPU : SSE3 = 1 | AVX = 1 | REPACK = 1 |".
            "kernel": " ".join(re.findall(r"(\w+) = 1", xllamacpp.get_system_info())),
        }

    def time(self, prompts: list[list[int]], generate: int) -> dict[str, float]:
        """Seconds of prompts, and of what follows: their last tokens are computed again for it."""
        start = time.perf_counter()
        self._complete(prompts, 1, ignore_eos=True, cache_prompt=False)
        first = time.perf_counter()
        self._complete(prompts, generate, ignore_eos=True)
        return {"prefill": first - start, "decode": time.perf_counter() - first}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer to the question of a proof (see `trimllm.exporting.proof`)."""
        # The server reports log-probabilities with a token that it can show: not the end of a text
        # or half a letter. A bias chooses one; it leaves the log-probabilities as they are.
        letter = self._post("/tokenize", content="a")["tokens"][-1]

        def likeliest(ids: list[int], top: int) -> dict[int, float]:
            bias = {"logit_bias": [[letter, 1e6]], "n_probs": top}
            position = self._complete([ids], 1, **bias)["completion_probabilities"][0]
            values = ((one["id"], one["logprob"]) for one in position["top_logprobs"])
            return {token: math.nan if value is None else value for token, value in values}

        answer: dict[str, Any] = {"likeliest": [], "targets": []}
        for ids, positions in question["rows"]:
            for position in positions:
                before, target = ids[:position], ids[position]
                top = likeliest(before, question["top"])
                answer["likeliest"].append(top)
                every = top if target in top else likeliest(before, 1 << 20)
                answer["targets"].append(every[target])
        options = {"add_special": True, "parse_special": True}
        tokenized = [self._post("/tokenize", content=text, **options) for text in question["texts"]]
        return answer | {
            "tokens": [one["tokens"] for one in tokenized],
            "greedy": self._complete([question["prompt"]], question["greedy"])["tokens"],
            "engine": {"name": "llama.cpp", **self.facts["versions"]},
        }

    def _complete(self, prompts: list[list[int]], tokens: int, **options: Any) -> Any:
        """Greedy completion of one prompt, or a list of those of several."""
        content: dict[str, Any] = {"n_predict": tokens, "temperature": -1.0, "cache_prompt": True}
        content |= {"prompt": prompts if len(prompts) > 1 else prompts[0], "return_tokens": True}
        return self._post("/completion", **content | options)

    def _post(self, path: str, **content: Any) -> Any:
        """A reply of the server."""
        address, headers = self.server.listening_address, {"Content-Type": "application/json"}
        request = urllib.request.Request(address + path, json.dumps(content).encode(), headers)
        with urllib.request.urlopen(request, timeout=3600) as reply:
            return json.load(reply)
