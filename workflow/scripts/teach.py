"""Run the fully fine-tuned model over training documents, for others to learn from."""

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.base import files
    from trimllm.data import read_documents
    from trimllm.train import Teacher
    from trimllm.train.batching import documents_of_epoch

    job.data_hashes()
    model, tokenizer = job.load(job.params["dtype"])
    documents, count = read_documents(snakemake.input.train), job.params["documents"]
    if count and count < len(documents):
        documents = documents_of_epoch(documents, 0, count, job.params["seed"])
    teacher = Teacher.of(
        model,
        tokenizer,
        documents,
        dtype=job.params["dtype"],
        every_token=job.params["every_token"],
        label="teacher",
    )
    with files.scratch(snakemake.output[0]) as folder:
        teacher.save(folder / "states.safetensors")
        (folder / "states.safetensors").replace(snakemake.output[0])
