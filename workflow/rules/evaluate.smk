# Accuracy by lm-eval. One rule per tested domain, since domains differ in their test tasks: a job
# loads a checkpoint once and writes one file per task. The checkpoint was trained on {domain}.

for domain, spec in CONFIG.tested.items():

    rule:
        name:
            f"evaluate_{domain}"
        input:
            unpack(inputs(measuring.evaluate, tested=domain)),
        output:
            [PATHS.evaluation("{model}", "{domain}", "{recipe}", task) for task in spec.tests],
        log:
            f"logs/evaluate/{{model}}/{{domain}}/{{recipe}}/on_{domain}.log",
        benchmark:
            f"{BENCHMARKS}/evaluate/{{model}}/{{domain}}/{{recipe}}/on_{domain}.tsv"
        # Runs first, so that weights needed only once are deleted soon.
        priority: 40
        threads: CONFIG.compute.threads
        resources:
            **reserved("evaluate", domain=domain),
        params:
            **depends(measuring.evaluate, tested=domain),
        message:
            f"evaluate {{wildcards.recipe}} of {{wildcards.model}}, trained on {{wildcards.domain}}, on {domain}"
        script:
            "../scripts/evaluate.py"
