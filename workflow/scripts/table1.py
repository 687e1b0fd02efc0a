"""Render Table 1 from the measurements of throughput."""

from pathlib import Path

from _job import Job

with Job(snakemake):
    from trimllm.paper import table1

    params = snakemake.params
    table = table1.build(
        snakemake.input.benchmarks,
        params.models,
        kept_percent=params.kept_percent,
        composed=params.composed,
        first=params.first,
    )
    table1.render(table, Path(snakemake.output[0]).with_suffix(""))
