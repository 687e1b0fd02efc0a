"""Fine-tune a model on a domain: all blocks, or with a ratio the most important ones."""

from pathlib import Path

from _job import Job

with Job(snakemake, model=True) as job:
    import trimllm
    from trimllm import files
    from trimllm.data import read_documents
    from trimllm.scan import from_record
    from trimllm.train import TrainSettings, fine_tune

    hashes = job.data_hashes(snakemake.input.report)
    # Only the sparse update looks at the scan.
    scan = snakemake.input.get("scan")
    initial = from_record(files.read_json(scan)["scan"]) if scan else None
    model, tokenizer = job.load(snakemake.input.manifest)
    record = fine_tune(
        model,
        tokenizer,
        read_documents(snakemake.input.train),
        TrainSettings(**snakemake.params.settings),
        epochs=snakemake.params.epochs,
        documents_per_epoch=snakemake.params.documents,
        initial=initial,
        ratio=snakemake.params.ratio,
        criterion=snakemake.params.criterion,
    )
    trimllm.save(
        model,
        tokenizer,
        Path(snakemake.output.manifest).parent,
        dtype=snakemake.params.loading["storage_dtype"],
        record={"training": record},
        provenance=job.provenance(data_hashes=hashes, seed=snakemake.params.settings["seed"]),
    )
