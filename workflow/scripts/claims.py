"""Check the paper's claims on every model."""

from pathlib import Path

from _job import Job

with Job(snakemake):
    from trimllm.paper.chains import Run
    from trimllm.paper.claims import claims
    from trimllm.paper.claims.claim_checks import CHECKS
    from trimllm.paper.claims.evidence import Evidence

    found, shared = snakemake.input, snakemake.params.shared
    evidence = [
        Evidence(
            found.evaluations,
            found.records,
            found.trainings,
            found.timings,
            model,
            shared["domains"],
            Run(float(shared["ratio"]), shared["drops_per_epoch"]),
        )
        for model in snakemake.params.models
    ]
    claims.write(
        [claims.report(one, CHECKS) for one in evidence],
        evidence[0].sources,
        Path(snakemake.output.md).with_suffix(""),
    )
