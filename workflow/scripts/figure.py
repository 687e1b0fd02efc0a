"""Draw one figure of the paper; the rule is named after the module."""

from importlib import import_module
from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake):
    from trimllm_paper.chains import Run

    params = snakemake.params
    shared = params.shared
    module = import_module("trimllm_paper.figures." + snakemake.rule.removeprefix("draw_"))
    module.draw(
        *([*snakemake.input.get(name)] for name in params.inputs),
        params.model,
        shared["domains"],
        Path(snakemake.output.png).with_suffix(""),
        criteria=shared["criteria"],
        run=Run(float(shared["ratio"]), shared["drops_per_epoch"]),
    )
