"""Draw accuracy against units kept, one panel a domain."""

from pathlib import Path

from _job import Job

with Job(snakemake):
    from trimllm.paper.accuracy_by_kept import draw

    params = snakemake.params
    draw(
        snakemake.input.evaluations,
        params.model,
        params.domains,
        Path(snakemake.output[0]).with_suffix(""),
        criteria=params.criteria,
        kept_percent=params.kept_percent,
        ratio=params.ratio,
        drops_per_epoch=params.drops_per_epoch,
    )
