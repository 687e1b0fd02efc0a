# What is trained in one piece: the two baselines without trimming, and the droppings by rule.


rule full_ft:
    input:
        unpack(inputs("full_ft")),
    output:
        manifest=PATHS.manifest("{model}", "{domain}", "full_ft"),
        weights=PATHS.weights("{model}", "{domain}", "full_ft"),
        record=PATHS.training("{model}", "{domain}", "full_ft"),
    log:
        log("full_ft", "{model}", "{domain}"),
    benchmark:
        PATHS.job_times("full_ft", "{model}", "{domain}")
    priority: 10
    threads: TEAM_THREADS
    resources:
        mem_mb=memory("full_ft"),
        runtime=runtime("full_ft"),
        gpu=TEAM_GPUS,
    params:
        how=how("full_ft"),
        config_hash=noted("full_ft"),
    message:
        "fine-tune {wildcards.model} on {wildcards.domain}, all blocks"
    script:
        "../scripts/train.py"


use rule full_ft as sparse_ft with:
    input:
        unpack(inputs("sparse_ft")),
    output:
        manifest=PATHS.manifest("{model}", "{domain}", "sparse_ft"),
        weights=PATHS.weights("{model}", "{domain}", "sparse_ft"),
        record=PATHS.training("{model}", "{domain}", "sparse_ft"),
    log:
        log("sparse_ft", "{model}", "{domain}"),
    benchmark:
        PATHS.job_times("sparse_ft", "{model}", "{domain}")
    resources:
        mem_mb=memory("sparse_ft"),
        runtime=runtime("sparse_ft"),
        gpu=TEAM_GPUS,
    params:
        how=how("sparse_ft"),
        config_hash=noted("sparse_ft"),
    message:
        "fine-tune {wildcards.model} on {wildcards.domain}, the most important blocks"


# Droppings by rule (Table 3): half of the blocks at once, then fine-tuning.
use rule full_ft as drop_at_once with:
    input:
        unpack(inputs("at_once")),
    output:
        manifest=temp(PATHS.manifest("{model}", "{domain}", AT_ONCE)),
        weights=temp(PATHS.weights("{model}", "{domain}", AT_ONCE)),
        record=PATHS.training("{model}", "{domain}", AT_ONCE),
    log:
        log("drop_at_once", "{model}", "{domain}", AT_ONCE),
    benchmark:
        PATHS.job_times("drop_at_once", "{model}", "{domain}", AT_ONCE)
    priority: 0
    resources:
        mem_mb=memory("sparse_ft"),
        runtime=runtime("sparse_ft"),
        gpu=TEAM_GPUS,
    params:
        how=how("at_once"),
        config_hash=noted("at_once"),
    message:
        "drop {wildcards.drop} units of {wildcards.model} at once ({wildcards.by}), fine-tune on {wildcards.domain}"
