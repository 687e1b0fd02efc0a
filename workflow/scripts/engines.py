"""Time full and trimmed models in one engine; one JSON."""

import sys
from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.base import files
    from trimllm.checkpoint import load_tokenizer
    from trimllm.data import read_documents
    from trimllm.engines.session import Model, Setting, measure, prompts
    from trimllm.score import texts_of
    from trimllm.throughput import machine
    from trimllm.throughput.result import Protocol
    from trimllm_paper import shapes
    from trimllm_paper.engine_records import Engines
    from trimllm_paper.recipe import FULL_FT
    from trimllm_paper.records import Export

    params, wildcards, loading = job.params, job.wildcards, job.params["loading"]
    shapes.check_machine(wildcards["hardware"], loading["device"])
    manifests = [*job.inputs["checkpoints"], *job.inputs["loaded"]]
    for manifest in dict.fromkeys(manifests):
        files.verify_manifest(Path(manifest).parent)
    recipes = list(dict.fromkeys(recipe for recipe, _ in params["models"]))
    dense = dict(zip(recipes, (Path(m).parent for m in job.inputs["checkpoints"]), strict=True))
    models = []
    for (recipe, format), manifest in zip(params["models"], job.inputs["loaded"], strict=True):
        folder, proof = Path(manifest).parent, None
        if (folder / "export.json").is_file():
            proof = Export.read(folder / "export.json").proof
        path = next(folder.glob("*.gguf"), folder)
        models.append(Model(recipe, format, str(path), str(dense[recipe]), proof))
    trusted = loading["trust_remote_code"]
    tokenizer = load_tokenizer(dense[FULL_FT], trust_remote_code=trusted)
    texts = map("".join, texts_of(tokenizer, read_documents(snakemake.input.held_back)))
    protocol, dtype, device = Protocol(**params["protocol"]), params["dtype"], loading["device"]
    setting = Setting(
        prompts(tokenizer, texts, max(protocol.batches), protocol.prompt),
        protocol,
        threads=params["threads"] or snakemake.threads,
        device=device,
        dtype=machine.fast_dtype(device) if dtype == "auto" else dtype,
        trust_remote_code=trusted,
    )
    found = measure(models, setting, say=lambda text: print(text, file=sys.stderr))
    hashes = {str(manifest): files.sha256_of(manifest) for manifest in manifests}
    facts = {key: params[key] for key in ("domain", "label", "seed")}
    provenance = job.provenance(manifests=hashes, seed=params["seed"])
    Engines(**wildcards | found | facts, provenance=provenance).write(snakemake.output[0])
