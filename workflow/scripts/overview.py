"""Put claims, figures, tables and provenance on one page."""

from trimllm_paper.job import Job

with Job(snakemake):
    from trimllm_paper import overview

    found = snakemake.input
    overview.write(
        snakemake.output[0],
        claims=found.claims,
        figures=found.figures,
        tables=found.tables,
        captions=found.captions,
        evals=found.evaluations,
    )
