"""Fetch one wheel, or take it from the mirror, and check its sha256."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake, online=True) as job:
    from trimllm.base import files
    from trimllm_paper.fetch.wheels import fetch_wheel, unfinished

    name, version, sha256 = (job.how[key] for key in ("name", "version", "sha256"))
    folder = Path(snakemake.output[0]).parent
    files.remove_leftovers(unfinished(name, version, folder))
    fetch_wheel(name, version, sha256, folder, mirror=snakemake.config["mirror"])
