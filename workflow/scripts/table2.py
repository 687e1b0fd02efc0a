"""Render Table 2 from the evaluations."""

from pathlib import Path

from _job import Job

with Job(snakemake):
    from trimllm.paper import table2

    params = snakemake.params
    table = table2.build(
        snakemake.input.evaluations,
        params.models,
        params.domains,
        criteria=params.criteria,
        kept_percent=params.kept_percent,
        ratio=params.ratio,
        drops_per_epoch=params.drops_per_epoch,
        seed=params.seed,
    )
    table2.render(table, Path(snakemake.output[0]).with_suffix(""))
