"""vLLM by its Transformers backend, in an environment of its own (envs/README.md) without trimllm:
one process, the modeling code that lies beside the weights."""

import json
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from vllm import LLM, SamplingParams, __version__


class Worker:
    """An engine for `parallel` texts of `context` tokens each (see `formats.start_engine`), with a
    `share` of a GPU's memory, that reports `top` log-probabilities of a position."""

    def __init__(
        self,
        path: str,
        threads: int,
        context: int,
        parallel: int = 1,
        device: str = "cpu",
        dtype: str = "float32",
        share: float = 0.9,
        top: int = 1,
    ) -> None:
        torch.set_num_threads(threads)
        config = json.loads(Path(path, "config.json").read_text(encoding="utf-8"))
        # Keys and values of all texts, twice: vLLM assigns whole blocks. Shared heads take less.
        tokens = config["num_hidden_layers"] * context * parallel
        cache = 4 * getattr(torch, dtype).itemsize * config["hidden_size"] * tokens
        eager = device == "cpu"  # a compiler may be missing there
        self.engine = LLM(
            model=path,
            model_impl="transformers",  # of the full model as of a trimmed one
            trust_remote_code=True,
            dtype=dtype,
            enable_prefix_caching=False,  # every round computes its prompt
            generation_config="vllm",  # no sampling option of the checkpoint applies
            enforce_eager=eager,
            max_logprobs=top,
            max_model_len=context,
            max_num_seqs=parallel,
            kv_cache_memory_bytes=max(1 << 28, cache),
            disable_log_stats=True,
            **({} if eager else {"gpu_memory_utilization": share}),
        )
        versions = {"vllm": __version__, "torch": torch.__version__}
        self.facts: dict[str, Any] = {
            "version": f"vllm {__version__}",
            "versions": versions | {"transformers": transformers.__version__},
            "kernel": f"Transformers backend, {'eager' if eager else 'compiled'}",
            "precision": dtype,
        }

    def time(self, prompts: list[list[int]], generate: int) -> dict[str, float]:
        """Seconds of prompts, and of what follows: what more takes than the first token alone."""
        start = time.perf_counter()
        self._generate(prompts, max_tokens=1)
        first = time.perf_counter()
        self._generate(prompts, max_tokens=1 + generate)
        prefill = first - start
        return {"prefill": prefill, "decode": time.perf_counter() - first - prefill}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer to the question of a proof (see `trimllm.exporting.proof`)."""
        answer: dict[str, Any] = {"likeliest": [], "targets": []}
        for ids, positions in question["rows"]:
            # By position: the likeliest tokens, and the one that is there.
            options = {"max_tokens": 1, "prompt_logprobs": question["top"]}
            by_position = self._generate([ids], **options)[0].prompt_logprobs
            for position in positions:
                values = {token: one.logprob for token, one in by_position[position].items()}
                answer["likeliest"].append(values)
                answer["targets"].append(values[ids[position]])
        tokenizer = self.engine.get_tokenizer()
        greedy = self._generate([question["prompt"]], max_tokens=question["greedy"])[0]
        return answer | {
            "tokens": [tokenizer(text).input_ids for text in question["texts"]],
            "greedy": list(greedy.outputs[0].token_ids),
            "engine": {"name": "vLLM", **self.facts["versions"]},
        }

    def _generate(self, prompts: list[list[int]], **options: Any) -> Any:
        params = SamplingParams(temperature=0.0, ignore_eos=True, detokenize=False, **options)
        inputs = [{"prompt_token_ids": ids} for ids in prompts]
        return self.engine.generate(inputs, params, use_tqdm=False)
