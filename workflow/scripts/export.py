"""Write one checkpoint as an engine reads it, and prove it there on the domain's documents."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.checkpoint import load_tokenizer
    from trimllm.checkpoint.card import Facts
    from trimllm.data import read_documents
    from trimllm.exporting.run import export
    from trimllm.score import texts_of
    from trimllm_paper.records import Export

    params, told = job.params, job.wildcards
    hashes, seed = job.data_hashes(), params["seed"]
    folder, trusted = Path(snakemake.input.manifest).parent, params["loading"]["trust_remote_code"]
    tokenizer = load_tokenizer(folder, trust_remote_code=trusted)
    documents = read_documents(snakemake.input.calibration)[: params["documents"]]
    place = {key: told[key] for key in ("model", "domain", "recipe")} | {"seed": seed}
    full = snakemake.input.get("full")
    card = params["card"]
    if told_of := job.inputs.get("measured"):
        from trimllm_paper.own import card as own_card

        told_of = [*told_of, *job.inputs.get("timings", ())]
        card = card | {"measured": own_card.measured(told_of, told["recipe"])}
    export(
        folder,
        told["format"],
        Path(snakemake.output.manifest).parent,
        texts_of(tokenizer, documents),
        untrimmed=Path(full).parent if full else None,
        facts=Facts(**job.card() | card, how=told["recipe"]),
        threads=snakemake.threads,
        record=lambda found: Export(
            **place, **params["chain"], **found, provenance=job.stamp
        ).content(),
        provenance=lambda: job.provenance(data_hashes=hashes, seed=seed),
    )
