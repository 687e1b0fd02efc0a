"""Check the paper's claims on every model."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm_paper import claims
    from trimllm_paper.context import Context
    from trimllm_paper.frames import Frame

    stem = Path(snakemake.output.md).with_suffix("")
    contexts = [Context.model_validate(one) for one in snakemake.params.contexts]
    claims.write(Frame.of(**snakemake.params.files), contexts, stem)
    claims.write_contradictions(snakemake.output.contradictions)
