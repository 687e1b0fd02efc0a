"""Render Table 7 from the evaluations and the measurements of throughput."""

from pathlib import Path

from _job import Job

with Job(snakemake):
    from trimllm.paper import table7

    params = snakemake.params
    table = table7.build(
        snakemake.input.evaluations,
        snakemake.input.benchmarks,
        params.models,
        params.domains,
        kept_percent=params.kept_percent,
        first=params.first,
        ratio=params.ratio,
        drops_per_epoch=params.drops_per_epoch,
        seed=params.seed,
    )
    table7.render(table, Path(snakemake.output[0]).with_suffix(""))
