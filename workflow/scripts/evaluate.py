"""Evaluate one checkpoint on all test tasks of a domain, its own or another; one JSON a task."""

from pathlib import Path

from trimllm_paper.forked import forked

with forked(snakemake) as job:
    import trimllm
    from trimllm.checkpoint import weight_bytes
    from trimllm.evaluate import evaluate
    from trimllm_paper.records import Evaluation

    how, folder = job.how, Path(snakemake.input.manifest).parent
    hashes = job.data_hashes()
    model, tokenizer = job.load(how["dtype"])
    results = evaluate(
        model,
        tokenizer,
        dict(zip(how["tasks"], job.inputs["tests"], strict=True)),
        batch_tokens=how["batch_tokens"],
        **how["generated"],
        dtype=how["dtype"],
    )
    common = {
        **job.wildcards,
        **how["chain"],
        "seed": how["seed"],
        "tested": how["tested"],
        "checkpoint": folder.as_posix(),
        "bytes": weight_bytes(folder),
        "bytes_full": weight_bytes(Path(snakemake.input.base).parent),
        "units_kept": len(trimllm.units(model)),
        "units_total": how["units_total"],
        "stand_in": how["stand_in"],
        "provenance": job.provenance(data_hashes=hashes, seed=how["seed"]),
    }
    for task, path in zip(how["tasks"], snakemake.output, strict=True):
        Evaluation(**common, **results[task]).write(path)
