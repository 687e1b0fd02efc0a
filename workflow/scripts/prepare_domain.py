"""Read, construct, split and check the documents of one domain."""

from pathlib import Path
from tempfile import TemporaryDirectory

from trimllm_paper.job import Job

with Job(snakemake, online=True) as job, TemporaryDirectory() as folder:
    from trimllm.data.prepare import prepare
    from trimllm_paper.fetch.archives import unpacked
    from trimllm_paper.fetch.wheels import fetch_wheels
    from trimllm_paper.standins import CONSTRUCTIONS

    how, downloads = job.how, snakemake.config["downloads"]
    fetch_wheels(how["wheels"], downloads, snakemake.config["mirror"])
    prepare(
        unpacked(how["spec"], downloads, how["wheels"], Path(folder)),
        Path(snakemake.output.report).parent,
        seed=how["seed"],
        limits=how["limits"],
        constructions=CONSTRUCTIONS,
        provenance=job.stamp,
    )
