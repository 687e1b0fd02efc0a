"""Gather the records of a chain's epochs, one a line, in order."""

from _job import Job

with Job(snakemake):
    from trimllm import files

    files.write_jsonl(snakemake.output[0], map(files.read_json, snakemake.input))
