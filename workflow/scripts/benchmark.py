"""Time one model beside its baseline; one JSON."""

import sys
from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.base import files
    from trimllm.throughput import machine
    from trimllm.throughput.cell import measure_cell, shape_subject
    from trimllm.throughput.session import Protocol
    from trimllm.throughput.subject import Subject

    params, wildcards = snakemake.params, snakemake.wildcards
    how = dict(params.how)
    if how["dtype"] == "auto":
        how["dtype"] = machine.fast_dtype(how["device"])
    facts = {"model": wildcards.model, "recipe": wildcards.recipe, "hardware": wildcards.hardware}
    hashes = {}
    if params.shape:
        subject, pattern = shape_subject(params.shape, wildcards.recipe, params.patterns, **how)
        baseline, _ = shape_subject(params.shape, "full", {}, **how)
        facts["pattern"] = pattern
    else:
        for manifest in (snakemake.input.manifest, snakemake.input.full):
            files.verify_manifest(Path(manifest).parent)
            hashes[str(manifest)] = files.sha256_of(manifest)
        trust = params.loading["trust_remote_code"]
        subject, baseline = (
            Subject(checkpoint=str(Path(manifest).parent), trust_remote_code=trust, **how)
            for manifest in (snakemake.input.manifest, snakemake.input.full)
        )
        facts |= {"domain": params.domain, "label": params.label}
        facts["compressor"] = (wildcards.recipe.split("+") + [None])[1]
    result = measure_cell(
        subject,
        baseline if subject != baseline else None,
        Protocol(**params.protocol),
        wildcards.hardware,
        also_compiled=params.compiled,
        say=lambda text: print(text, file=sys.stderr),
    )
    provenance = job.provenance(manifests=hashes, seed=params.seed)
    content = files.sealed(result | facts | {"provenance": provenance})
    files.write_json(snakemake.output[0], content)
