"""Scan the untrained model: accuracy, likelihood and norm for every unit."""

from trimllm_paper.forked import forked

with forked(snakemake) as job:
    from trimllm.data import read_documents
    from trimllm.scanning import scan, to_record
    from trimllm.scanning.sample import sample_of
    from trimllm_paper.records import ScanFile

    how = job.how
    hashes = job.data_hashes()
    documents = read_documents(snakemake.input.calibration)
    model, tokenizer = job.load(how["dtype"])
    found = scan(
        model,
        tokenizer,
        sample_of(documents, how["documents"], how["seed"], 0),
        dtype=how["dtype"],
        label="initial scan",
        row_budget=how["row_budget"],
    )
    ScanFile(
        **job.wildcards,
        scan=to_record(found),
        provenance=job.provenance(data_hashes=hashes, seed=how["seed"]),
    ).write(snakemake.output[0])
