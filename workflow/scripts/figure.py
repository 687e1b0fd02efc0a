"""Draw one figure of the paper; the rule's name is the module's."""

from importlib import import_module
from pathlib import Path

from _job import Job

with Job(snakemake):
    from trimllm.paper.chains import Run

    params = snakemake.params
    shared = params.shared
    import_module(f"trimllm.paper.{snakemake.rule}").draw(
        *([*snakemake.input.get(name)] for name in params.inputs),
        params.model,
        shared["domains"],
        Path(snakemake.output.png).with_suffix(""),
        criteria=shared["criteria"],
        run=Run(float(shared["ratio"]), shared["drops_per_epoch"]),
    )
