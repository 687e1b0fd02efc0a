"""Run the fully fine-tuned model over the training documents of the chains that it teaches."""

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.base import files
    from trimllm.train import Teacher
    from trimllm.train.batching import documents_of_epoch

    params = job.params
    model, tokenizer = job.load(params["dtype"])
    documents, count = job.documents("train"), params["documents"]
    if count and count < len(documents):
        documents = documents_of_epoch(documents, 0, count, job.seed)
    teacher = Teacher.of(model, tokenizer, documents, dtype=params["dtype"], label="teacher")
    with files.scratch(snakemake.output[0]) as folder:
        teacher.save(folder / "states.safetensors")
        (folder / "states.safetensors").replace(snakemake.output[0])
