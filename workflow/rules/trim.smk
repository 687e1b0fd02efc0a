# The chain: pretrained -> drop_00 -> ... -> drop_KK, one job an epoch, resumable after each. Weights
# are kept for the checkpoints that are evaluated, and the record of every epoch always.


rule trim_epoch:
    input:
        unpack(inputs("epoch")),
    output:
        **checkpoint(EPOCH, PATHS.epoch, temp),
    log:
        log("trim_epoch", "{model}", "{domain}", EPOCH),
    benchmark:
        PATHS.job_times("trim_epoch", "{model}", "{domain}", EPOCH)
    # A chain is the longest way through the DAG: its next epoch goes before anything else.
    priority: 20
    threads: threads("trim")
    resources:
        **reserved("trim"),
    params:
        **depends("epoch"),
    message:
        "trim {wildcards.model} on {wildcards.domain} by {wildcards.name}: to {wildcards.drop} units dropped"
    script:
        "../scripts/train.py"


use rule trim_epoch as trim_epoch_kept with:
    output:
        **checkpoint(EPOCH, PATHS.epoch),
    wildcard_constraints:
        model=TARGETS.kept_models(),


ruleorder: trim_epoch_kept > trim_epoch
