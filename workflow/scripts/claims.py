"""Check the paper's claims on every model."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm_paper import claims
    from trimllm_paper.frame import Frame

    stem = Path(snakemake.output.md).with_suffix("")
    claims.write(Frame.of(**job.inputs), snakemake.params.contexts, stem)
