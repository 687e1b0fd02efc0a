# The scan of the pretrained model chooses the blocks of every sparse update in a domain.


rule scan:
    input:
        unpack(inputs(training.scan)),
    output:
        PATHS.scan("{model}", "{domain}"),
    log:
        "logs/scan/{model}/{domain}.log",
    benchmark:
        f"{BENCHMARKS}/scan/{{model}}/{{domain}}.tsv"
    # Every chain waits for it.
    priority: 30
    threads: CONFIG.compute.threads
    resources:
        **reserved("scan"),
    params:
        **depends(training.scan),
    message:
        "scan {wildcards.model} on {wildcards.domain}"
    script:
        "../scripts/scan.py"
