"""Draw the figure that the output is named after."""

from importlib import import_module
from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm_paper.context import Context
    from trimllm_paper.frames import Frame

    stem = Path(snakemake.output.png).with_suffix("")
    module = import_module(f"trimllm_paper.figures.{stem.name.partition('_')[0]}")
    context = Context.model_validate(snakemake.params.context)
    module.draw(Frame.of(**snakemake.params.files), context, stem)
