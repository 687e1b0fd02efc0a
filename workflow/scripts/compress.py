"""Compress one checkpoint, calibrated on training documents and proven on documents held back."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.checkpoint import load_tokenizer
    from trimllm.compress.methods import CompressSettings
    from trimllm.compress.proof import answered
    from trimllm.compress.run import compress
    from trimllm.data import read_documents
    from trimllm_paper.recipe import place_of
    from trimllm_paper.records import Compression

    params, told = job.params, job.wildcards
    hashes = job.data_hashes()
    folder, trusted = Path(snakemake.input.manifest).parent, params["loading"]["trust_remote_code"]
    tokenizer = load_tokenizer(folder, trust_remote_code=trusted)
    train, others = (read_documents(snakemake.input[kind]) for kind in ("train", "held_back"))
    calibration = answered(tokenizer, train, params["calibration"])
    held_back = answered(tokenizer, others, params["held_back"])
    engine_file = snakemake.input.get("engine")
    place = {"model": told["model"], "domain": told["domain"]}
    place["recipe"] = str(place_of(snakemake.output.record).recipe)
    compress(
        told["compressor"],
        folder,
        ["".join(pair) for pair in calibration],
        held_back,
        Path(snakemake.output.manifest).parent,
        engine=params["engine"],
        settings=CompressSettings(
            **params["settings"],
            threads=snakemake.threads,
            device=params["loading"]["device"],
            python=Path(Path(engine_file).read_text().strip()) if engine_file else None,
        ),
        record=lambda result: Compression(
            **place, **params["chain"], **result, provenance=job.stamp
        ).content(),
        provenance=lambda: job.provenance(data_hashes=hashes, seed=params["settings"]["seed"]),
    )
