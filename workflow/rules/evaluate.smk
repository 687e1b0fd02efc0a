# Accuracy by lm-eval. A rule for each domain that is tested on, since domains differ in their test
# tasks: one job loads a checkpoint once and writes one file a task. {domain} is what the checkpoint
# was trained on, for the most part the same.

for domain in TESTED:

    rule:
        name:
            f"evaluate_{domain}"
        input:
            unpack(evaluated_files),
            base="<results>/models/{model}/base/pretrained/manifest.json",
            report=f"<results>/data/{domain}/report.json",
            tests=test_files(domain),
        output:
            expand(
                "<results>/eval/{{model}}/{{domain}}/{{recipe}}/{task}.json",
                task=TESTED[domain]["tests"],
            ),
        log:
            f"logs/evaluate/{{model}}/{{domain}}/{{recipe}}/on_{domain}.log",
        benchmark:
            f"<results>/benchmarks/evaluate/{{model}}/{{domain}}/{{recipe}}/on_{domain}.tsv"
        threads: config["compute"]["threads"]
        resources:
            mem_mb=memory_for("evaluate"),
            runtime=runtime_for("evaluate"),
            gpu=GPUS,
        params:
            tested=domain,
            tasks=list(TESTED[domain]["tests"]),
            stand_in=TESTED[domain].get("stand_in"),
            units_total=lambda wildcards: units(wildcards.model),
            batch_tokens=config["evaluate"]["batch_tokens"],
            dtype=config["compute"]["dtype"],
            seed=config["seed"],
            loading=loading,
            code=CODE["evaluate"],
        message:
            f"evaluate {{wildcards.recipe}} of {{wildcards.model}}, trained on {{wildcards.domain}}, on {domain}"
        script:
            "../scripts/evaluate.py"
