"""What one checkpoint says of held-back documents and of neutral text; one JSON."""

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.data import read_documents
    from trimllm_paper.choices import Answers
    from trimllm_paper.own import outside

    params = job.params
    hashes = job.data_hashes()
    model, tokenizer = job.load(params["dtype"])
    documents = read_documents(snakemake.input.held_back)[: outside.SHOWN]
    found = outside.answers(model, tokenizer, documents)
    provenance = job.provenance(data_hashes=hashes, seed=params["seed"])
    place = {"domain": params["domain"], "seed": params["seed"], **params["chain"]}
    Answers(**job.wildcards, **place, **found, provenance=provenance).write(snakemake.output[0])
