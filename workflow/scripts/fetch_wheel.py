"""Fetch one wheel, or take it from the mirror, and check its sha256."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake, online=True) as job:
    from trimllm_paper.fetch.wheels import fetch_wheel

    fetch_wheel(
        job.how["name"],
        job.how["version"],
        job.how["sha256"],
        Path(snakemake.output[0]).parent,
        mirror=snakemake.config["mirror"],
    )
