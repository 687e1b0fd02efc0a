"""Scan the untrained model: accuracy, likelihood and norm for every unit."""

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm.data import read_documents
    from trimllm.scanning import scan, to_record
    from trimllm.scanning.sample import sample_of
    from trimllm_paper.records import ScanFile

    params = job.params
    hashes = job.data_hashes()
    documents = read_documents(snakemake.input.calibration)
    model, tokenizer = job.load(params["dtype"])
    found = scan(
        model,
        tokenizer,
        sample_of(documents, params["documents"], params["seed"], 0),
        dtype=params["dtype"],
        label="initial scan",
        row_budget=params["row_budget"],
    )
    ScanFile(
        **job.wildcards,
        scan=to_record(found),
        provenance=job.provenance(data_hashes=hashes, seed=params["seed"]),
    ).write(snakemake.output[0])
