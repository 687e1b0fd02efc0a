"""One epoch of progressive layer dropping: scan, drop, train a pass."""

from trimllm_paper.job import Job

with Job(snakemake, model=True) as job:
    from trimllm.base import files

    epoch = snakemake.params.epoch
    hashes = job.data_hashes(snakemake.input.report)
    # Epoch 0 chooses the blocks that are trained; all later ones train the same.
    trainable = files.read_json(snakemake.input.epoch)["trainable_blocks"] if epoch else None
    arguments = {
        "criterion": snakemake.wildcards.criterion,
        "ratio": float(snakemake.wildcards.ratio),
        "drops": int(snakemake.wildcards.drops) if epoch else 0,
        "epoch": epoch,
        "epochs": snakemake.params.epochs,
        "trainable": trainable,
        "documents_per_epoch": snakemake.params.documents,
        "eliminate": snakemake.params.eliminate,
        "row_budget": snakemake.params.row_budget,
        "calibration_documents": snakemake.params.scanned,
    }
    job.train("trim_epoch", "epoch", arguments, hashes)
