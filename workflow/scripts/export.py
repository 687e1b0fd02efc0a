"""Export one checkpoint, verified on the domain's documents."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.checkpoint import load_tokenizer
    from trimllm.checkpoint.card import Facts
    from trimllm.data import read_documents
    from trimllm.exporting.run import export
    from trimllm.score import texts_of
    from trimllm_paper.records import Export

    params, wildcards, full = job.params, dict(job.wildcards), snakemake.input.get("full")
    hashes, seed, format = job.data_hashes(), params["seed"], wildcards.pop("format")
    folder, trusted = Path(snakemake.input.manifest).parent, params["loading"]["trust_remote_code"]
    tokenizer = load_tokenizer(folder, trust_remote_code=trusted)
    documents = read_documents(snakemake.input.calibration)[: params["documents"]]
    card = {**job.card(), **params["card"], "how": wildcards["recipe"]}
    if records := job.inputs.get("measured"):
        from trimllm_paper.own.card import measured

        records = [*records, *job.inputs.get("timings", ())]
        card["measured"] = measured(records, wildcards["recipe"])
    facts = {**wildcards, **params["chain"], "seed": seed, "provenance": job.stamp}
    export(
        folder,
        format,
        Path(snakemake.output.manifest).parent,
        texts_of(tokenizer, documents),
        untrimmed=Path(full).parent if full else None,
        facts=Facts(**card),
        threads=snakemake.threads,
        record=lambda content: Export(**facts, **content).content(),
        provenance=lambda: job.provenance(data_hashes=hashes, seed=seed),
    )
