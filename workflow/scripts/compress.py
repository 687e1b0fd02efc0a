"""Compress one checkpoint, calibrated on the domain's training documents."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake, model=True) as job:
    from trimllm.compress import CompressSettings, compress
    from trimllm.compress.calibration import shares
    from trimllm.data import read_documents

    params, wildcards = snakemake.params, snakemake.wildcards
    hashes = job.data_hashes(snakemake.input.report)
    documents = read_documents(snakemake.input.train)
    pairs = [(one.prompt, one.choices[one.answer]) for one in documents]
    texts, held_back = shares(pairs, params.calibration, params.held_back)
    engine_file = snakemake.input.get("engine")
    compress(
        wildcards.compressor,
        Path(snakemake.input.manifest).parent,
        texts,
        held_back,
        Path(snakemake.output.manifest).parent,
        engine=params.engine,
        settings=CompressSettings(
            **params.settings,
            threads=snakemake.threads,
            device=params.loading["device"],
            python=Path(Path(engine_file).read_text().strip()) if engine_file else None,
        ),
        provenance=lambda: job.provenance(data_hashes=hashes, seed=params.settings["seed"]),
    )
