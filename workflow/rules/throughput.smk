# Throughput and memory. A measurement takes every core, so that no other job runs beside it, and is
# made on this machine only: files of other machines are copied into <results>/throughput/ and appear
# in the tables.


rule measure:
    input:
        unpack(inputs(measuring.measure)),
    output:
        PATHS.throughput("{hardware}", "{model}", "{recipe}"),
    log:
        log("throughput", "{hardware}", "{model}", "{recipe}"),
    wildcard_constraints:
        model=one_of(TARGETS.timed_models),
    # After everything that others wait for.
    priority: -10
    threads: ALL_CORES
    resources:
        **reserved("measure"),
    params:
        **depends(measuring.measure),
    message:
        "time {wildcards.recipe} of {wildcards.model} beside the full model"
    script:
        "../scripts/measure.py"
