"""Compress a checkpoint, calibrated on training documents, verified on held-back ones."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.compress.methods import CompressSettings
    from trimllm.compress.run import compress
    from trimllm.score import texts_of
    from trimllm_paper.records import OfRecipe

    params, tokenizer = job.params, job.tokenizer()
    calibration, held_back = (
        list(dict.fromkeys(texts_of(tokenizer, job.documents(name))))[: params[key]]
        for name, key in (("train", "calibration"), ("held_back", "held_back"))
    )
    device, threads = params["loading"]["device"], snakemake.threads
    compress(
        job.wildcards["compressor"],
        job.checkpoint,
        ["".join(pair) for pair in calibration],
        held_back,
        Path(snakemake.output.manifest).parent,
        engine=params["engine"],
        settings=CompressSettings(**params["settings"], threads=threads, device=device),
        record=lambda result: OfRecipe(**job.facts | result).content(),
        provenance=job.provenance,
    )
