"""Answers of a checkpoint to held-back documents, and its loss on neutral text; one JSON."""

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm_paper.own import answers
    from trimllm_paper.records import Answers

    params = job.params
    model, tokenizer = job.load(params["dtype"])
    documents = job.documents("held_back")[: answers.SHOWN]
    content = answers.answers(model, tokenizer, documents) | job.measured()
    record = Answers(**content, domain=params["domain"], seed=job.seed)
    record.write(snakemake.output[0])
