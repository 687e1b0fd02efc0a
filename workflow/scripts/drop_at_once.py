"""Drop half of the blocks by a rule, then fine-tune as long as a chain would."""

from trimllm_paper.job import Job

with Job(snakemake, model=True) as job:
    hashes = job.data_hashes(snakemake.input.report)
    arguments = {
        "rule": snakemake.wildcards.by,
        "drops": int(snakemake.wildcards.drops),
        "epochs": snakemake.params.epochs,
        "documents_per_epoch": snakemake.params.documents,
        "ratio": float(snakemake.wildcards.ratio),
    }
    job.train("drop_at_once", "training", arguments, hashes)
