"""What one checkpoint answers to held-back documents, and its loss on neutral text; one JSON."""

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.data import read_documents
    from trimllm_paper.choices import Answers
    from trimllm_paper.own import answers

    params = job.params
    hashes = job.data_hashes()
    model, tokenizer = job.load(params["dtype"])
    documents = read_documents(snakemake.input.held_back)[: answers.SHOWN]
    found = answers.answers(model, tokenizer, documents)
    provenance = job.provenance(data_hashes=hashes, seed=params["seed"])
    place = {"domain": params["domain"], "seed": params["seed"], **params["chain"]}
    Answers(**job.wildcards, **place, **found, provenance=provenance).write(snakemake.output[0])
