# A model for one's own data: measure, choose, export, report. Its requirements are the section `own`
# of the configuration; `trimllm start` writes one.


rule answers:
    input:
        unpack(inputs(measuring.answers)),
    output:
        PATHS.answers("{model}", "{recipe}"),
    log:
        "logs/answers/{model}/{recipe}.log",
    benchmark:
        f"{BENCHMARKS}/answers/{{model}}/{{recipe}}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **reserved("answers"),
    params:
        **depends(measuring.answers),
    message:
        "answer held-back documents and score neutral text by {wildcards.recipe} of {wildcards.model}"
    script:
        "../scripts/answers.py"


# Which checkpoint is exported is known when all are made.
checkpoint choose:
    input:
        unpack(inputs(measuring.choose, hardware=HARDWARE)),
    output:
        PATHS.choice("{model}"),
    log:
        "logs/choose/{model}.log",
    localrule: True
    params:
        **depends(measuring.choose, hardware=HARDWARE),
    message:
        "choose a checkpoint of {wildcards.model}"
    script:
        "../scripts/choose.py"


rule own_report:
    input:
        unpack(or_refuse(lambda wildcards: TARGETS.own_report(wildcards.model))),
        choice=PATHS.choice("{model}"),
        answers=of_chosen("answers"),
        export=of_chosen("export"),
    output:
        PATHS.choice("{model}", "report.html"),
    log:
        "logs/own_report/{model}.log",
    localrule: True
    params:
        depends=lambda wildcards: TARGETS.own_context(wildcards.model),
        code=lambda wildcards: code_hash("own_report"),
    message:
        "write the report of {wildcards.model}"
    script:
        "../scripts/own_report.py"
