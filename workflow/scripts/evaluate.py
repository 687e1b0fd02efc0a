"""Evaluate one checkpoint on all test tasks of a domain, its own or another; one JSON a task."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    import trimllm
    from trimllm.checkpoint import weight_bytes
    from trimllm.evaluate import evaluate
    from trimllm_paper.records import Evaluation

    params, folder = job.params, Path(snakemake.input.manifest).parent
    hashes = job.data_hashes()
    model, tokenizer = job.load(params["dtype"])
    results = evaluate(
        model,
        tokenizer,
        dict(zip(params["tasks"], job.inputs["tests"], strict=True)),
        batch_tokens=params["batch_tokens"],
        **params["generated"],
    )
    common = {
        **job.wildcards,
        **params["chain"],
        "seed": params["seed"],
        "tested": params["tested"],
        "checkpoint": folder.as_posix(),
        "bytes": weight_bytes(folder),
        "bytes_full": weight_bytes(Path(snakemake.input.base).parent),
        "units_kept": len(trimllm.units(model)),
        "units_total": params["units_total"],
        "stand_in": params["stand_in"],
        "provenance": job.provenance(data_hashes=hashes, seed=params["seed"]),
    }
    for task, path in zip(params["tasks"], snakemake.output, strict=True):
        Evaluation(**common, **results[task]).write(path)
