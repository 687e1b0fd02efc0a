"""Scan the pretrained model: accuracy, likelihood and norm of every sublayer; one JSON."""

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.scanning import sample_of, scan, to_record
    from trimllm_paper.records import Record

    params = job.params
    model, tokenizer = job.load(params["dtype"])
    documents = sample_of(job.documents("calibration"), params["documents"], job.seed, 0)
    options = {key: params[key] for key in ("dtype", "row_budget")}
    scanned = scan(model, tokenizer, documents, label="initial scan", **options)
    Record(**job.measured(), scan=to_record(scanned)).write(snakemake.output[0])
