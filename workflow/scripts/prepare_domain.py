"""Read, construct, split and check the documents of one domain."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake, online=True) as job:
    from trimllm.data import prepare

    prepare(
        snakemake.params.spec,
        Path(snakemake.output.report).parent,
        downloads=snakemake.config["downloads"],
        seed=snakemake.params.seed,
        limits=snakemake.params.limits,
        wheels=snakemake.params.wheels,
        provenance=job.settings(),
    )
