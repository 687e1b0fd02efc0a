"""Check the paper's claims on every model."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake):
    from trimllm_paper.chains import Run
    from trimllm_paper.claims import claims
    from trimllm_paper.claims.claim_checks import CHECKS
    from trimllm_paper.claims.evidence import Evidence

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
