"""vLLM, in an environment of its own (envs/README.md) without trimllm: one process, in which every
model runs by vLLM's Transformers backend."""

from __future__ import annotations

import time

import torch
from vllm import LLM, SamplingParams, __version__


class Worker:
    """A checkpoint, timed.

    Args:
        share: of a GPU's memory: vLLM does not start where less of it is free.
        cache_bytes: of the KV cache; beside it and the weights nothing is reserved.
    """

    def __init__(
        self,
        path: str,
        prompts: list[list[int]],
        generate: int,
        batch: int,
        threads: int,
        device: str,
        dtype: str,
        cache_bytes: int,
        share: float,
    ) -> None:
        torch.set_num_threads(threads)
        if device == "cuda" and not torch.cuda.is_available():
            raise SystemExit(
                f"vLLM {__version__} with torch {torch.__version__} has no usable GPU; its speed "
                "on the CPU is not the GPU's: install vLLM for CUDA, or leave vllm out"
            )
        self.prompts = [{"prompt_token_ids": ids} for ids in prompts]
        self.generate = generate
        eager = device == "cpu"  # a compiler may be missing there
        self.engine = LLM(
            model=path,
            model_impl="transformers",  # of the full model as of a trimmed one
            trust_remote_code=True,
            dtype=dtype,
            enable_prefix_caching=False,  # every round computes its prompt
            generation_config="vllm",
            enforce_eager=eager,
            max_model_len=len(prompts[0]) + generate + 1,
            max_num_seqs=batch,
            kv_cache_memory_bytes=cache_bytes,
            disable_log_stats=True,
            **({} if eager else {"gpu_memory_utilization": share}),
        )
        self.facts = {
            "version": f"vllm {__version__}",
            "versions": {"vllm": __version__, "torch": torch.__version__},
            "kernel": f"Transformers backend, {'eager' if eager else 'compiled'}",
            "precision": dtype,
        }

    def time(self, batch: int) -> dict[str, float]:
        """Seconds of a prompt and of what follows: what more takes than the first token alone."""
        prefill = self._seconds(batch, 1)
        return {"prefill": prefill, "decode": self._seconds(batch, 1 + self.generate) - prefill}

    def _seconds(self, batch: int, tokens: int) -> float:
        params = SamplingParams(
            temperature=0.0, ignore_eos=True, detokenize=False, max_tokens=tokens
        )
        start = time.perf_counter()
        self.engine.generate(self.prompts[:batch], params, use_tqdm=False)
        return time.perf_counter() - start
