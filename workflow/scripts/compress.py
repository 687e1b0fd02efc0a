"""Compress a checkpoint, calibrated on training documents, verified on held-back ones."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.checkpoint import load_tokenizer
    from trimllm.compress.methods import CompressSettings
    from trimllm.compress.run import compress
    from trimllm.score import texts_of
    from trimllm_paper.records import Compression

    params = job.params
    tokenizer = load_tokenizer(job.checkpoint, trust_remote_code=job.trusted)
    calibration, held_back = (
        list(dict.fromkeys(texts_of(tokenizer, job.documents(name))))[: params[key]]
        for name, key in (("train", "calibration"), ("held_back", "held_back"))
    )
    compress(
        job.wildcards["compressor"],
        job.checkpoint,
        ["".join(pair) for pair in calibration],
        held_back,
        Path(snakemake.output.manifest).parent,
        engine=params["engine"],
        settings=CompressSettings(
            **params["settings"],
            threads=snakemake.threads,
            device=params["loading"]["device"],
        ),
        record=lambda result: Compression(**job.facts | result).content(),
        provenance=job.provenance,
    )
