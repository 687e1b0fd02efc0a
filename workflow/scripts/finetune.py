"""Fine-tune a model on a domain: all blocks, or with a ratio the most important ones."""

from trimllm_paper.job import Job

with Job(snakemake, model=True) as job:
    hashes = job.data_hashes(snakemake.input.report)
    arguments = {
        "epochs": snakemake.params.epochs,
        "documents_per_epoch": snakemake.params.documents,
        "ratio": snakemake.params.ratio,
        "criterion": snakemake.params.criterion,
    }
    job.train("fine_tune", "training", arguments, hashes)
