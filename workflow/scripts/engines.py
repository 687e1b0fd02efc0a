"""Time full and trimmed models in one engine; one JSON."""

import sys
from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.base import files
    from trimllm.checkpoint import load_tokenizer
    from trimllm.data import read_documents
    from trimllm.engines.session import measure
    from trimllm.engines.setting import Model, Setting, prompts
    from trimllm.score import texts_of
    from trimllm.throughput import machine
    from trimllm_paper import shapes
    from trimllm_paper.engine_records import Engines
    from trimllm_paper.recipe import FULL_FT
    from trimllm_paper.records import Export

    how, told, loading = job.how, job.wildcards, job.how["loading"]
    shapes.check_machine(told["hardware"], loading["device"])
    manifests = [*job.inputs["checkpoints"], *job.inputs["loaded"]]
    for manifest in dict.fromkeys(manifests):
        files.verify_manifest(Path(manifest).parent)
    recipes = list(dict.fromkeys(recipe for recipe, _ in how["models"]))
    dense = dict(zip(recipes, (Path(m).parent for m in job.inputs["checkpoints"]), strict=True))
    models = []
    for (recipe, format), manifest in zip(how["models"], job.inputs["loaded"], strict=True):
        folder, proof = Path(manifest).parent, None
        if (folder / "export.json").is_file():
            proof = Export.read(folder / "export.json").proof
        path = next(folder.glob("*.gguf"), folder)
        names = str(path), str(dense[recipe])
        models.append(Model(recipe, format, *names, full=recipe == FULL_FT, proof=proof))
    trusted = loading["trust_remote_code"]
    tokenizer = load_tokenizer(dense[FULL_FT], trust_remote_code=trusted)
    texts = texts_of(tokenizer, read_documents(snakemake.input.held_back))
    told_dtype, device = how["dtype"], loading["device"]
    setting = Setting(
        prompts(tokenizer, map("".join, texts), max(how["setting"]["batches"]), how["prompt"]),
        **how["setting"],
        threads=how["threads"],
        device=device,
        dtype=machine.fast_dtype(device) if told_dtype == "auto" else told_dtype,
        trust_remote_code=trusted,
    )
    found = measure(models, setting, say=lambda text: print(text, file=sys.stderr))
    hashes = {str(manifest): files.sha256_of(manifest) for manifest in manifests}
    facts = {key: how[key] for key in ("domain", "label", "seed")}
    provenance = job.provenance(manifests=hashes, seed=how["seed"])
    Engines(**told | found | facts, provenance=provenance).write(snakemake.output[0])
