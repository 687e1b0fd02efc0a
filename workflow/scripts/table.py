"""Build and render the table that the rule is named after."""

from importlib import import_module
from pathlib import Path

from trimllm_paper.job import Job


def as_list(files):
    """Files of one input name, of which Snakemake hands over a single one as a text."""
    return [files] if isinstance(files, str) else list(files)


with Job(snakemake):
    from trimllm_paper.tables.render import render

    module = import_module(f"trimllm_paper.tables.{snakemake.rule}")
    inputs = {name: as_list(files) for name, files in snakemake.input.items()}
    table = module.build(**inputs, **snakemake.params.build)
    render(table, Path(snakemake.output[0]).with_suffix(""))
