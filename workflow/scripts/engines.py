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

    params, wildcards, device = job.params, job.wildcards, job.params["loading"]["device"]
    shapes.check_machine(wildcards["hardware"], device)
    hashes = {}
    for manifest in {*job.inputs["checkpoints"], *job.inputs["loaded"]}:
        files.verify_manifest(Path(manifest).parent)
        hashes[manifest] = files.sha256_of(manifest)
    recipes = dict.fromkeys(recipe for recipe, _ in params["models"])
    dense = dict(zip(recipes, (Path(m).parent for m in job.inputs["checkpoints"]), strict=True))
    automatic, threads = params["dtype"] == "auto", params["threads"] or snakemake.threads
    options = {
        "dtype": machine.fast_dtype(device) if automatic else params["dtype"],
        **{"device": device, "threads": threads, "trust_remote_code": job.trusted},
    }
    subjects = []
    for (recipe, format), manifest in zip(params["models"], job.inputs["loaded"], strict=True):
        folder, facts = Path(manifest).parent, {"recipe": recipe, "format": format, "proof": None}
        checkpoint, export = dense[recipe], next(folder.glob("*.gguf"), folder)
        if FORMATS[format] == TRANSFORMERS:
            checkpoint = folder  # compressed, or the dense one itself
        else:
            facts["proof"] = Export.read(folder / "export.json").proof
        place = {"checkpoint": str(checkpoint), "export": str(export), "format": format}
        subjects.append(Subject(**place, **options, facts=facts))
    tokenizer = load_tokenizer(dense[FULL_FT], trust_remote_code=job.trusted)
    texts = map("".join, texts_of(tokenizer, job.documents("held_back")))
    protocol = Protocol(**params["protocol"])
    prompts = prompts_of(tokenizer, texts, max(protocol.batches), protocol.prompt)
    rates = ("copy_bytes_per_second", "matrix_operations_per_second")
    measured = []
    for _, group in groupby(subjects, key=lambda subject: subject.format):
        session = measure(list(group), protocol, prompts)
        measured += [row | {key: session[key] for key in rates} for row in session["measured"]]
    Engines(
        **job.measured(manifests=hashes),
        **{key: session[key] for key in ("interleaved", "protocol")},
        **{key: params[key] for key in ("domain", "seed")},
        measured=measured,
        threads=threads,
        device="cpu" if wildcards["engine"] == LLAMA else device,
    ).write(snakemake.output[0])
