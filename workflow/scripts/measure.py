"""Time one model beside the full one; one JSON."""

import sys
from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.base import files
    from trimllm.throughput import machine
    from trimllm.throughput.result import Protocol
    from trimllm.throughput.session import measure
    from trimllm.throughput.subject import Subject
    from trimllm_paper import shapes
    from trimllm_paper.recipe import Recipe
    from trimllm_paper.records import Throughput

    how, told = job.how, job.wildcards
    on, recipe = dict(how["subject"]), Recipe.parse(told["recipe"])
    shapes.check_machine(told["hardware"], on["device"])
    if on["dtype"] == "auto":
        on["dtype"] = machine.fast_dtype(on["device"])
    facts, hashes = {"label": how["label"], "domain": how["domain"]}, {}
    if shape := how["shape"]:
        subject = shapes.subject_of(shape, recipe, how["patterns"], **on)
        baseline = shapes.subject_of(shape, Recipe.shape(), {}, **on)
        facts["label"] = shapes.LABELS[shape]
        if recipe.is_trimmed:
            facts["pattern"] = shapes.in_words(recipe.name, how["patterns"][recipe.name])
    else:
        manifests = (snakemake.input.manifest, snakemake.input.full)
        for manifest in manifests:
            files.verify_manifest(Path(manifest).parent)
            hashes[str(manifest)] = files.sha256_of(manifest)
        trust = how["loading"]["trust_remote_code"]
        subject, baseline = (
            Subject(checkpoint=str(Path(manifest).parent), trust_remote_code=trust, **on)
            for manifest in manifests
        )
    found = measure(
        subject,
        baseline if subject != baseline else None,
        Protocol(**how["protocol"]),
        also_compiled=how["compiled"],
        say=lambda text: print(text, file=sys.stderr),
    )
    Throughput(
        **told,
        **how["chain"],
        **facts,
        **found,
        seed=how["seed"],
        compressor=recipe.compressor,
        provenance=job.provenance(manifests=hashes, seed=how["seed"]),
    ).write(snakemake.output[0])
