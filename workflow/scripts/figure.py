"""Draw the figure that the output is named after."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm_paper.context import Context
    from trimllm_paper.figures import drawings
    from trimllm_paper.frames import Frame

    stem = Path(snakemake.output.png).with_suffix("")
    draw = getattr(drawings, stem.name.partition("_")[0])
    context = Context.model_validate(snakemake.params.context)
    draw(Frame.of(**snakemake.params.files), context, stem)
