"""Read, construct, split and check the documents of one domain."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake, online=True) as job:
    from trimllm.data.prepare import prepare
    from trimllm_paper.fetch.wheels import fetch_wheels

    how, downloads = job.how, snakemake.config["downloads"]
    fetch_wheels(how["wheels"], downloads, snakemake.config["mirror"])
    prepare(
        how["spec"],
        Path(snakemake.output.report).parent,
        downloads=downloads,
        seed=how["seed"],
        limits=how["limits"],
        wheels=how["wheels"],
        provenance=job.stamp,
    )
