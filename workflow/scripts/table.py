"""Build and render the table that the output is named after."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm_paper import cells, render
    from trimllm_paper.context import Context
    from trimllm_paper.frames import Frame

    stem = Path(snakemake.output[0]).with_suffix("")
    context = Context(**snakemake.params.context)
    render.render(cells.build(stem.name, Frame.of(**snakemake.params.files), context), stem)
