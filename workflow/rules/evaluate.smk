# Accuracy by lm-eval. A rule for each domain, since domains differ in their test tasks: one job
# loads a checkpoint once and writes one file a task.

for domain in DOMAINS:

    rule:
        name:
            f"evaluate_{domain}"
        input:
            unpack(evaluated_files(domain)),
            base="<results>/models/{model}/base/pretrained/manifest.json",
            report=f"<results>/data/{domain}/report.json",
            tests=test_files(domain),
        output:
            expand(
                "<results>/eval/{{model}}/{domain}/{{recipe}}/{task}.json",
                domain=domain,
                task=DOMAINS[domain]["tests"],
            ),
        log:
            f"logs/evaluate/{{model}}/{domain}/{{recipe}}.log",
        benchmark:
            f"<results>/benchmarks/evaluate/{{model}}/{domain}/{{recipe}}.tsv"
        threads: config["compute"]["threads"]
        resources:
            mem_mb=memory_for("evaluate"),
            runtime=runtime_for("evaluate"),
            gpu=GPUS,
        params:
            domain=domain,
            tasks=list(DOMAINS[domain]["tests"]),
            stand_in=DOMAINS[domain].get("stand_in"),
            units_total=lambda wildcards: units(wildcards.model),
            batch_tokens=config["evaluate"]["batch_tokens"],
            dtype=config["compute"]["dtype"],
            seed=config["seed"],
            loading=loading,
            code=CODE["evaluate"],
        message:
            f"evaluate {{wildcards.recipe}} of {{wildcards.model}} on {domain}"
        script:
            "../scripts/evaluate.py"
