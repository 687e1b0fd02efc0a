# Accuracy by lm-eval. A rule for each domain that is tested on, since domains differ in their test
# tasks: one job loads a checkpoint once and writes one file a task. {domain} is what the checkpoint
# was trained on, for the most part the same.

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
