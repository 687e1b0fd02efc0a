# The scan of the untrained model: it chooses the blocks of every sparse update in a domain, whatever
# the criterion and the ratio, so it is made once.


rule initial_scan:
    input:
        unpack(base_files),
        calibration="<results>/data/{domain}/calibration.jsonl",
        report="<results>/data/{domain}/report.json",
    output:
        "<results>/scans/{model}/{domain}.json",
    log:
        "logs/initial_scan/{model}/{domain}.log",
    benchmark:
        "<results>/benchmarks/initial_scan/{model}/{domain}.tsv"
    # Every chain waits for it.
    priority: 30
    threads: config["compute"]["threads"]
    resources:
        mem_mb=memory_for("scan"),
        runtime=runtime_for("scan"),
        gpu=GPUS,
    params:
        scanned=None,
        residual_fault=False,
        row_budget=TRIM["row_budget"],
        dtype=config["compute"]["dtype"],
        seed=config["seed"],
        loading=loading,
        code=CODE["train"],
    message:
        "scan {wildcards.model} on {wildcards.domain}"
    script:
        "../scripts/initial_scan.py"


# What `compat: authors` starts from: their residual fault, on documents that are reported.
use rule initial_scan as initial_scan_authors with:
    input:
        unpack(base_files),
        calibration=lambda wildcards: test_files(wildcards.domain)[0],
        report="<results>/data/{domain}/report.json",
    output:
        "<results>/scans/{model}/{domain}.authors.json",
    log:
        "logs/initial_scan/{model}/{domain}.authors.log",
    benchmark:
        "<results>/benchmarks/initial_scan/{model}/{domain}.authors.tsv"
    params:
        scanned=settings.AUTHORS_DOCUMENTS,
        residual_fault=True,
        row_budget=TRIM["row_budget"],
        dtype=config["compute"]["dtype"],
        seed=config["seed"],
        loading=loading,
        code=CODE["train"],
