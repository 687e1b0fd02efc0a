"""One epoch of progressive layer dropping: scan, drop, train a pass."""

from pathlib import Path

from _job import Job

with Job(snakemake, model=True) as job:
    import trimllm
    from trimllm import files
    from trimllm.data import read_documents
    from trimllm.scan import from_record
    from trimllm.train import TrainSettings, trim_epoch

    epoch = snakemake.params.epoch
    hashes = job.data_hashes(snakemake.input.report)
    # Epoch 0 chooses the blocks that are trained; all later ones train the same.
    trainable = files.read_json(snakemake.input.epoch)["trainable_blocks"] if epoch else None
    initial = None if epoch else from_record(files.read_json(snakemake.input.scan)["scan"])
    model, tokenizer = job.load(snakemake.input.manifest)
    record = trim_epoch(
        model,
        tokenizer,
        read_documents(snakemake.input.train),
        read_documents(snakemake.input.calibration),
        TrainSettings(**snakemake.params.settings),
        criterion=snakemake.wildcards.criterion,
        ratio=float(snakemake.wildcards.ratio),
        drops=int(snakemake.wildcards.drops) if epoch else 0,
        epoch=epoch,
        epochs=snakemake.params.epochs,
        trainable=trainable,
        initial=initial,
        documents_per_epoch=snakemake.params.documents,
        eliminate=snakemake.params.eliminate,
        row_budget=snakemake.params.row_budget,
    )
    trimllm.save(
        model,
        tokenizer,
        Path(snakemake.output.manifest).parent,
        dtype=snakemake.params.loading["storage_dtype"],
        record={"epoch": record},
        provenance=job.provenance(data_hashes=hashes, seed=snakemake.params.settings["seed"]),
    )
