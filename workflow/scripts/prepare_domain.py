"""Read, construct, split and check the documents of one domain."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake, online=True) as job:
    from trimllm.data.prepare import prepare

    how = job.how
    prepare(
        how["spec"],
        Path(snakemake.output.report).parent,
        downloads=snakemake.config["downloads"],
        seed=how["seed"],
        limits=how["limits"],
        wheels=how["wheels"],
        provenance=job.stamp,
    )
