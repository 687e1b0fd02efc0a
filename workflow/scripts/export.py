"""Write a checkpoint as an engine reads it, and verify it there on the domain's documents."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.checkpoint import load_tokenizer
    from trimllm.checkpoint.card import Facts
    from trimllm.exporting.run import export
    from trimllm.score import texts_of
    from trimllm_paper.records import Export

    params, recipe = job.params, job.wildcards["recipe"]
    tokenizer = load_tokenizer(job.checkpoint, trust_remote_code=job.trusted)
    documents = job.documents("calibration")[: params["documents"]]
    card = job.card() | {"name": params["name"], "how": recipe}
    if measured := job.inputs.get("measured"):
        from trimllm_paper.own import card as own_card

        card["measured"] = own_card.measured(measured, job.inputs["timings"], recipe)
    export(
        job.checkpoint,
        job.wildcards["format"],
        Path(snakemake.output.manifest).parent,
        texts_of(tokenizer, documents),
        facts=Facts(**card),
        threads=snakemake.threads,
        record=lambda proof: Export(**job.facts | proof | {"seed": job.seed}).content(),
        provenance=job.provenance,
    )
