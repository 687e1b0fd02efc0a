"""Scan the untrained model: accuracy, likelihood and norm for every unit."""

from trimllm_paper.job import Job

with Job(snakemake, model=True) as job:
    from trimllm.base import files
    from trimllm.data import read_documents
    from trimllm.scan import to_record
    from trimllm.train import watched_scan

    hashes = job.data_hashes(snakemake.input.report)
    model, tokenizer = job.load(snakemake.input.manifest, snakemake.params.dtype)
    found = watched_scan(
        model,
        tokenizer,
        read_documents(snakemake.input.calibration)[: snakemake.params.scanned],
        snakemake.params.dtype,
        label="initial scan",
        row_budget=snakemake.params.row_budget,
        residual_fault=snakemake.params.residual_fault,
    )
    provenance = job.provenance(data_hashes=hashes, seed=snakemake.params.seed)
    content = {"scan": to_record(found), "provenance": provenance}
    if snakemake.params.residual_fault:
        content["compat"] = "authors"
    files.write_json(snakemake.output[0], files.sealed(content))
