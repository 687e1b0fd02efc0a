"""Write a checkpoint as an engine reads it, and verify it there on the domain's documents."""

from pathlib import Path

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.checkpoint.card import Facts
    from trimllm.exporting.run import export
    from trimllm.score import texts_of
    from trimllm_paper.records import Export

    recipe, tokenizer = job.wildcards["recipe"], job.tokenizer()
    documents = job.documents("calibration")[: job.params["documents"]]
    card = job.card() | {"name": job.params["name"], "how": recipe}
    if measured := job.inputs.get("measured"):
        from trimllm_paper.own.choice import card_lines

        card["measured"] = card_lines(measured, job.inputs["timings"], recipe)
    export(
        job.checkpoint,
        job.wildcards["format"],
        Path(snakemake.output.manifest).parent,
        texts_of(tokenizer, documents),
        facts=Facts(**card),
        threads=snakemake.threads,
        record=lambda proof: Export(**job.facts | proof).content(),
        provenance=job.provenance,
    )
