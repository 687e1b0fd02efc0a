"""Asks llama.cpp: `python llama_cpp.py MODEL.gguf question.json answers.json THREADS`.

Needs the wheel xllamacpp and nothing else; `trimllm.exporting.evidence` says what question and
answer are. llama.cpp ends a process that it cannot serve, which is why it has one of its own. What
is asked is whether the file is right: the cache is float32 and attention the plain one, for a cache
in 16 bits alone moves log-probabilities by 0.02 to 0.04 nats.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from importlib.metadata import version
from pathlib import Path
from typing import Any

import xllamacpp


class LlamaCpp:
    """A llama.cpp server in this process, for `parallel` texts of `context` tokens each.

    Args:
        exact: with a float32 cache and the plain attention, else with llama.cpp's own choice.
        draft: GGUF file of a model that drafts, as stock llama.cpp does it.
    """

    def __init__(
        self,
        model: str,
        context: int,
        threads: int,
        *,
        exact: bool,
        parallel: int = 1,
        draft: str | None = None,
    ) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = model
        params.n_ctx, params.n_parallel, params.n_gpu_layers = context * parallel, parallel, 0
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.warmup, params.verbosity, params.fit_params = False, 0, False
        if draft is not None:
            kinds, helper = xllamacpp.common_speculative_type, params.speculative.draft
            params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
            helper.mparams.path, helper.n_gpu_layers = draft, 0
            helper.cpuparams.n_threads = helper.cpuparams_batch.n_threads = threads
        if exact:
            plain = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
            params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
            params.flash_attn_type = plain
        self.server = xllamacpp.Server(params)
        self.letter = self.post("/tokenize", {"content": "a"})["tokens"][-1]

    def post(self, path: str, content: dict[str, Any]) -> dict[str, Any]:
        """An answer of the server."""
        request = urllib.request.Request(
            self.server.listening_address + path,
            json.dumps(content).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=3600) as found:
            return json.load(found)

    def complete(self, ids: list[int], tokens: int, **more: Any) -> dict[str, Any]:
        """Greedy completion of token ids; of several lists, a list of them."""
        asked = {"prompt": ids, "n_predict": tokens, "temperature": -1.0, "cache_prompt": True}
        return self.post("/completion", asked | {"return_tokens": True} | more)

    def following(self, ids: list[int], target: int, top: int) -> tuple[dict[int, float], float]:
        """Log-probabilities of the likeliest tokens after `ids`, and of one of them all."""
        found = self.likeliest(ids, top)
        if target in found:
            return found, found[target]
        return found, self.likeliest(ids, 1 << 20)[target]

    def likeliest(self, ids: list[int], top: int) -> dict[int, float]:
        """Log-probabilities of the `top` likeliest tokens after `ids`."""
        # Told with a token that can be shown alone: not with the end of a text or half a letter.
        # So one that can be is made to follow, which changes nothing in what was computed before.
        answer = self.complete(ids, 1, n_probs=top, logit_bias=[[self.letter, 1e6]])
        place = answer["completion_probabilities"][0]
        return {one["id"]: one["logprob"] for one in place["top_logprobs"]}


def main(model: str, question: str, answer: str, threads: str) -> None:
    """Answer a question."""
    asked = json.loads(Path(question).read_text(encoding="utf-8"))
    rows, prompt = asked["rows"], asked["prompt"]
    longest = max([len(prompt) + asked["greedy"], *(len(ids) for ids, _ in rows)]) + 8
    engine = LlamaCpp(model, longest, int(threads), exact=True)
    found = [[engine.following(ids[:k], ids[k], asked["top"]) for k in at] for ids, at in rows]
    tokenize = {"add_special": True, "parse_special": True}
    said = {
        "places": [[top for top, _ in row] for row in found],
        "targets": [[value for _, value in row] for row in found],
        "tokens": [
            engine.post("/tokenize", {"content": text, **tokenize})["tokens"]
            for text in asked["texts"]
        ],
        "greedy": engine.complete(prompt, asked["greedy"])["tokens"],
        "engine": {"name": "llama.cpp", "xllamacpp": version("xllamacpp")},
    }
    Path(answer).write_text(json.dumps([said]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
