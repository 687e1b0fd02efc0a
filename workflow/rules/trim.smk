# The chain: start -> state_00 -> ... -> state_KK, one job per epoch. Each state that is evaluated is
# annealed and rounded to drop_KK. States are removed when no job needs them; evaluated checkpoints
# keep their weights, every epoch its record.

STATES = str if CONFIG.trim.keep_checkpoints else temp


rule trim_epoch:
    input:
        unpack(inputs(training.trim_epoch)),
    output:
        **checkpoint(STATE, PATHS.epoch, STATES),
    log:
        "logs/trim_epoch/{model}/{domain}/trim_{name}/drop_{drop}.log",
    benchmark:
        f"{BENCHMARKS}/trim_epoch/{{model}}/{{domain}}/trim_{{name}}/drop_{{drop}}.tsv"
    # A chain is the longest path through the DAG: its next epoch runs before other trainings.
    priority: 20
    threads: threads("trim")
    resources:
        **reserved("trim"),
    params:
        **depends(training.trim_epoch),
    message:
        "trim {wildcards.model} on {wildcards.domain} by {wildcards.name}: {wildcards.drop} sublayers dropped"
    script:
        "../scripts/train.py"


rule settle:
    input:
        unpack(inputs(training.settle)),
    output:
        **checkpoint(EPOCH, PATHS.training, temp),
    log:
        "logs/settle/{model}/{domain}/trim_{name}/drop_{drop}.log",
    benchmark:
        f"{BENCHMARKS}/settle/{{model}}/{{domain}}/trim_{{name}}/drop_{{drop}}.tsv"
    # Runs before the chain's next epoch: until it is done, the state stays on disk.
    priority: 30
    threads: threads("settle")
    resources:
        **reserved("settle"),
    params:
        **depends(training.settle),
    message:
        "anneal {wildcards.model} on {wildcards.domain} by {wildcards.name}: {wildcards.drop} sublayers dropped"
    script:
        "../scripts/train.py"


use rule settle as settle_kept with:
    output:
        **checkpoint(EPOCH, PATHS.training),
    wildcard_constraints:
        model=TARGETS.kept_models(),


ruleorder: settle_kept > settle
