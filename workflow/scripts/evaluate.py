"""Evaluate a checkpoint on all test tasks of a domain, its own or another; one JSON a task."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    import trimllm
    from trimllm.checkpoint import weight_bytes
    from trimllm.evaluate import evaluate
    from trimllm_paper.records import Evaluation

    params = job.params
    model, tokenizer = job.load(params["dtype"])
    tests = dict(zip(params["tasks"], job.inputs["tests"], strict=True))
    results = evaluate(
        model, tokenizer, tests, batch_tokens=params["batch_tokens"], **params["generated"]
    )
    common = {
        **job.measured(),
        **{key: params[key] for key in ("tested", "stand_in", "units_total", "seed")},
        "checkpoint": job.checkpoint.as_posix(),
        "bytes": weight_bytes(job.checkpoint),
        "bytes_full": weight_bytes(Path(snakemake.input.base).parent),
        "units_kept": len(trimllm.units(model)),
    }
    for task, path in zip(params["tasks"], snakemake.output, strict=True):
        Evaluation(**common, **results[task]).write(path)
