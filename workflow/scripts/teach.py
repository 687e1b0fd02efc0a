"""Run the fully fine-tuned model over all training documents, for others to learn from."""

from trimllm_paper.forked import forked

with forked(snakemake) as job:
    from trimllm.base import files
    from trimllm.data import read_documents
    from trimllm.train import Teacher

    job.data_hashes()
    model, tokenizer = job.load(job.how["dtype"])
    teacher = Teacher.of(
        model,
        tokenizer,
        read_documents(snakemake.input.train),
        dtype=job.how["dtype"],
        every_token=job.how["every_token"],
        label="teacher",
    )
    with files.scratch(snakemake.output[0]) as folder:
        teacher.save(folder / "states.safetensors")
        (folder / "states.safetensors").replace(snakemake.output[0])
