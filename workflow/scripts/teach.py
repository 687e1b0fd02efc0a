"""Run the fully fine-tuned model over training documents, for others to learn from."""

from trimllm_paper.forked import forked

with forked(snakemake) as job:
    from trimllm.base import files
    from trimllm.data import read_documents
    from trimllm.train import Teacher
    from trimllm.train.batching import documents_of_epoch

    job.data_hashes()
    model, tokenizer = job.load(job.how["dtype"])
    documents, count = read_documents(snakemake.input.train), job.how["documents"]
    if count and count < len(documents):
        documents = documents_of_epoch(documents, 0, count, job.how["seed"])
    teacher = Teacher.of(
        model,
        tokenizer,
        documents,
        dtype=job.how["dtype"],
        every_token=job.how["every_token"],
        label="teacher",
    )
    with files.scratch(snakemake.output[0]) as folder:
        teacher.save(folder / "states.safetensors")
        (folder / "states.safetensors").replace(snakemake.output[0])
