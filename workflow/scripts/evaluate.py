"""Evaluate one checkpoint on all test tasks of a domain, its own or another; one JSON a task."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake, model=True) as job:
    import trimllm
    from trimllm.base import files
    from trimllm.checkpoint import weight_bytes
    from trimllm.evaluate import evaluate

    params, wildcards = snakemake.params, snakemake.wildcards
    hashes = job.data_hashes(snakemake.input.report)
    model, tokenizer = job.load(snakemake.input.manifest, params.dtype)
    results = evaluate(
        model,
        tokenizer,
        dict(zip(params.tasks, snakemake.input.tests, strict=True)),
        batch_tokens=params.batch_tokens,
        dtype=params.dtype,
    )
    folder = Path(snakemake.input.manifest).parent
    common = {
        "model": {"name": wildcards.model, "checkpoint": folder.as_posix()},
        "bytes": weight_bytes(folder),
        "bytes_full": weight_bytes(Path(snakemake.input.base).parent),
        "units_kept": len(trimllm.units(model)),
        "units_total": params.units_total,
        "recipe": wildcards.recipe,
        "compat": "authors" if wildcards.recipe.startswith("trim_authors_") else None,
        "domain": wildcards.domain,
        "tested": params.tested,
        "stand_in": params.stand_in,
        "provenance": job.provenance(
            data_hashes=hashes,
            seed=params.seed,
        ),
    }
    for task, path in zip(params.tasks, snakemake.output, strict=True):
        files.write_json(path, files.sealed(results[task] | common))
