"""Gather the records of a chain's epochs, one a line, in order: each as it was sealed."""

from trimllm_paper.job import Job

with Job(snakemake):
    from trimllm.base import files

    records = [files.read_json(path) for path in snakemake.input]
    for path, record in zip(snakemake.input, records, strict=True):
        files.check_seal(path, record)
    files.write_jsonl(snakemake.output[0], records)
