"""Time full and trimmed models in one engine; one JSON."""

from itertools import groupby
from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.base import files, machine
    from trimllm.checkpoint import load_tokenizer
    from trimllm.exporting.formats import FORMATS, LLAMA, TRANSFORMERS
    from trimllm.score import texts_of
    from trimllm.throughput.result import Protocol
    from trimllm.throughput.session import measure, prompts_of
    from trimllm.throughput.subject import Subject
    from trimllm_paper import shapes
    from trimllm_paper.recipe import FULL_FT
    from trimllm_paper.records import Engines, Export

    params, wildcards, loading = job.params, job.wildcards, job.params["loading"]
    shapes.check_machine(wildcards["hardware"], loading["device"])
    manifests = [*job.inputs["checkpoints"], *job.inputs["loaded"]]
    for manifest in dict.fromkeys(manifests):
        files.verify_manifest(Path(manifest).parent)
    recipes = list(dict.fromkeys(recipe for recipe, _ in params["models"]))
    dense = dict(zip(recipes, (Path(m).parent for m in job.inputs["checkpoints"]), strict=True))
    options = {
        "dtype": params["dtype"],
        "device": loading["device"],
        "threads": params["threads"] or snakemake.threads,
        "trust_remote_code": job.trusted,
    }
    if params["dtype"] == "auto":
        options["dtype"] = machine.fast_dtype(loading["device"])
    subjects = []
    for (recipe, format), manifest in zip(params["models"], job.inputs["loaded"], strict=True):
        folder, proof = Path(manifest).parent, None
        checkpoint, export = dense[recipe], next(folder.glob("*.gguf"), folder)
        if FORMATS[format] == TRANSFORMERS:
            checkpoint = folder  # compressed, or the dense one itself
        else:
            proof = Export.read(folder / "export.json").proof
        facts = {"recipe": recipe, "format": format, "proof": proof}
        place = {"checkpoint": str(checkpoint), "export": str(export), "format": format}
        subjects.append(Subject(**place, **options, facts=facts))
    tokenizer = load_tokenizer(dense[FULL_FT], trust_remote_code=job.trusted)
    texts = map("".join, texts_of(tokenizer, job.documents("held_back")))
    protocol = Protocol(**params["protocol"])
    prompts = prompts_of(tokenizer, texts, max(protocol.batches), protocol.prompt)
    sessions = [
        measure(list(group), protocol, prompts)
        for _, group in groupby(subjects, key=lambda subject: subject.format)
    ]
    rates = ("copy_bytes_per_second", "matrix_operations_per_second")
    Engines(
        **wildcards,
        measured=[
            row | {key: session[key] for key in rates}
            for session in sessions
            for row in session["measured"]
        ],
        **{key: sessions[0][key] for key in ("interleaved", "protocol")},
        threads=options["threads"],
        device="cpu" if wildcards["engine"] == LLAMA else options["device"],
        **{key: params[key] for key in ("domain", "seed")},
        provenance=job.provenance(manifests={str(one): files.sha256_of(one) for one in manifests}),
    ).write(snakemake.output[0])
