"""Time one model beside the full one; one JSON."""

from dataclasses import replace
from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.base import files, machine
    from trimllm.base.errors import UserError
    from trimllm.throughput.result import Protocol
    from trimllm.throughput.session import measure
    from trimllm.throughput.subject import Subject
    from trimllm_paper import shapes
    from trimllm_paper.recipe import Recipe
    from trimllm_paper.records import Throughput

    params, wildcards = job.params, job.wildcards
    options, recipe = dict(params["subject"]), Recipe.parse(wildcards["recipe"])
    shapes.check_machine(wildcards["hardware"], options["device"])
    options["threads"] = options["threads"] or snakemake.threads
    if options["dtype"] == "auto":
        options["dtype"] = machine.fast_dtype(options["device"])
    facts, hashes = {"domain": params.get("domain")}, {}
    if shape := params.get("shape"):
        full = shapes.subject_of(shape, Recipe.shape(), **options)
        subject = shapes.subject_of(shape, recipe, **options)
        if recipe.is_trimmed:
            facts["pattern"] = "half: 50% of the dropped sublayers are attention, spread evenly"
    else:
        manifests = (snakemake.input.full, snakemake.input.manifest)
        for manifest in manifests:
            files.verify_manifest(Path(manifest).parent)
            hashes[str(manifest)] = files.sha256_of(manifest)
        full, subject = (
            Subject(checkpoint=str(Path(manifest).parent), trust_remote_code=job.trusted, **options)
            for manifest in manifests
        )

    def measured(mode):
        subjects = [full] if subject == full else [full, subject]
        subjects = [replace(one, mode=mode) for one in subjects]
        session = measure(subjects, Protocol(**params["protocol"]))
        return session | session.pop("measured")[-1]

    content = measured("eager") | facts | {"seed": job.seed, "compressor": recipe.compressor}
    if params["compiled"]:
        try:
            content["compiled"] = measured("compiled")
        except UserError as error:
            content["compiled"] = {"error": str(error)}
    Throughput(**job.measured(manifests=hashes), **content).write(snakemake.output[0])
