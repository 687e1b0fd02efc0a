"""Engines in environments of their own: a stock checkpoint goes in, a compressed one comes out."""

from __future__ import annotations

from trimllm.compress.job import Compressed, CompressJob


def compress(job: CompressJob) -> Compressed:
    """Compress with `autoawq` or `auto-gptq`."""
    from trimllm.checkpoint import store
    from trimllm.checkpoint.stock import missing_modules, to_stock
    from trimllm.compress.external import run_engine
    from trimllm.compress.gptq_int4 import read_made

    dense, made = job.workspace / "dense", job.workspace / "made"
    dense.mkdir()
    store.write(to_stock(job.model, job.settings.seed), job.tokenizer, dense)
    settings = job.settings
    facts = run_engine(
        job.engine,
        dense,
        made,
        list(job.texts),
        group_size=settings.group_size,
        max_tokens=settings.max_tokens,
        threads=settings.threads,
        device=settings.device,
        seed=settings.seed,
        python=settings.python,
    )
    found = read_made(made, missing_modules(job.model))
    found.facts = {"engine_run": facts}
    return found
