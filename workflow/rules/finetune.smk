# Training in one job: full and sparse fine-tuning, and drops by rule.


rule full_ft:
    input:
        unpack(inputs(training.full_ft)),
    output:
        **checkpoint("full_ft", PATHS.training),
    log:
        "logs/full_ft/{model}/{domain}.log",
    benchmark:
        f"{BENCHMARKS}/full_ft/{{model}}/{{domain}}.tsv"
    priority: 10
    threads: threads("full_ft")
    resources:
        **reserved("full_ft"),
    params:
        **depends(training.full_ft),
    message:
        "fine-tune {wildcards.model} on {wildcards.domain}, all blocks"
        + (" by LoRA" if CONFIG.finetune.lora else "")
    script:
        "../scripts/train.py"


use rule full_ft as full_ft_choices with:
    input:
        unpack(inputs(training.full_ft_choices)),
    output:
        **checkpoint("full_ft_choices", PATHS.training),
    log:
        "logs/full_ft_choices/{model}/{domain}.log",
    benchmark:
        f"{BENCHMARKS}/full_ft_choices/{{model}}/{{domain}}.tsv"
    params:
        **depends(training.full_ft_choices),
    message:
        "fine-tune {wildcards.model} on {wildcards.domain}, all choices"


use rule full_ft as sparse_ft with:
    input:
        unpack(inputs(training.sparse_ft)),
    output:
        **checkpoint("sparse_ft", PATHS.training),
    log:
        "logs/sparse_ft/{model}/{domain}.log",
    benchmark:
        f"{BENCHMARKS}/sparse_ft/{{model}}/{{domain}}.tsv"
    threads: threads("sparse_ft")
    resources:
        **reserved("sparse_ft"),
    params:
        **depends(training.sparse_ft),
    message:
        "fine-tune {wildcards.model} on {wildcards.domain}, the most important blocks"


# Drops by rule (Table 3): half of the blocks at once, then fine-tuning.
use rule full_ft as drop_at_once with:
    input:
        unpack(inputs(training.drop_at_once)),
    output:
        **checkpoint(AT_ONCE, PATHS.training, temp),
    log:
        "logs/drop_at_once/{model}/{domain}/trim_{by}/drop_{drop}.log",
    benchmark:
        f"{BENCHMARKS}/drop_at_once/{{model}}/{{domain}}/trim_{{by}}/drop_{{drop}}.tsv"
    priority: 0
    threads: threads("sparse_ft")
    resources:
        **reserved("sparse_ft"),
    params:
        **depends(training.drop_at_once),
    message:
        "drop {wildcards.drop} sublayers of {wildcards.model} at once ({wildcards.by}), fine-tune on {wildcards.domain}"


# The teacher: its predictions on each training document, computed once.
rule teach:
    input:
        unpack(inputs(training.teach)),
    output:
        temp(PATHS.teacher("{model}", "{domain}", "{recipe}")),
    log:
        "logs/teach/{model}/{domain}/{recipe}.log",
    benchmark:
        f"{BENCHMARKS}/teach/{{model}}/{{domain}}/{{recipe}}.tsv"
    priority: 20
    threads: CONFIG.compute.threads
    resources:
        **reserved("teach"),
    params:
        **depends(training.teach),
    message:
        "run {wildcards.recipe} of {wildcards.model} as a teacher over the training documents of {wildcards.domain}"
    script:
        "../scripts/teach.py"
