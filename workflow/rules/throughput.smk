# Speed and memory of checkpoints and shapes in PyTorch, and of full and trimmed models in engines. A
# measurement takes every core of this machine, after jobs that others wait for; copy the files of
# other machines into <results>/throughput/.


rule measure:
    input:
        unpack(inputs(measuring.measure)),
    output:
        PATHS.throughput("{hardware}", "{model}", "{recipe}"),
    log:
        "logs/throughput/{hardware}/{model}/{recipe}.log",
    wildcard_constraints:
        model=one_of([*CONFIG.models, *(f"{RANDOM}{shape}" for shape in CONFIG.throughput.shapes)]),
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


rule engines:
    input:
        unpack(inputs(measuring.engines)),
    output:
        PATHS.engines("{hardware}", "{model}", "{engine}"),
    log:
        "logs/engines/{hardware}/{model}/{engine}.log",
    priority: -10
    threads: ALL_CORES
    resources:
        **reserved("measure"),
    params:
        **depends(measuring.engines),
    message:
        "time full and trimmed {wildcards.model} in {wildcards.engine}"
    script:
        "../scripts/engines.py"
