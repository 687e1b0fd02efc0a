# Accuracy by lm-eval. One rule per tested domain, since domains differ in their test tasks: a job
# loads a checkpoint once and writes one file per task. The checkpoint was trained on {domain}.

for domain in CONFIG.tested:

    rule:
        name:
            f"evaluate_{domain}"
        input:
            unpack(inputs(measuring.evaluate, tested=domain)),
        output:
            [
                PATHS.evaluation("{model}", "{domain}", "{recipe}", task)
                for task in CONFIG.tested[domain].tests
            ],
        log:
            log("evaluate", "{model}", "{domain}", "{recipe}", f"on_{domain}"),
        benchmark:
            PATHS.job_times("evaluate", "{model}", "{domain}", "{recipe}", f"on_{domain}")
        threads: CONFIG.compute.threads
        resources:
            **reserved("evaluate"),
        params:
            **depends(measuring.evaluate, tested=domain),
        message:
            f"evaluate {{wildcards.recipe}} of {{wildcards.model}}, trained on {{wildcards.domain}}, on {domain}"
        script:
            "../scripts/evaluate.py"
