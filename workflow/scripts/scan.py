"""Scan the pretrained model: accuracy, likelihood and norm of every sublayer; one JSON."""

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.scanning import sample_of, scan, to_record
    from trimllm_paper.records import ScanFile

    params = job.params
    model, tokenizer = job.load(params["dtype"])
    scanned = scan(
        model,
        tokenizer,
        sample_of(job.documents("calibration"), params["documents"], job.seed, 0),
        dtype=params["dtype"],
        label="initial scan",
        row_budget=params["row_budget"],
    )
    record = ScanFile(**job.wildcards, scan=to_record(scanned), provenance=job.provenance())
    record.write(snakemake.output[0])
