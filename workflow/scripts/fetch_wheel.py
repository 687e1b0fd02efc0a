"""Fetch one wheel, or take it from the mirror, and check its sha256."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake, online=True):
    from trimllm_paper.fetch import fetch_wheel

    fetch_wheel(
        snakemake.params.name,
        snakemake.wildcards.version,
        snakemake.params.sha256,
        Path(snakemake.output[0]).parent,
        mirror=snakemake.config["mirror"],
    )
