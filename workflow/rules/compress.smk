# Compressors on any recipe's checkpoint: `full_ft+awq_int4`, `trim_paper/drop_30+gptq_int4`.


# With `--sdm conda` from the YAML; else what `make envs` makes, made now where it is missing. What it
# leaves behind is the path of a Python.
rule engine_environment:
    output:
        temp(JOBS.engine_file("{environment}")),
    log:
        log("engine_environment", "{environment}"),
    wildcard_constraints:
        environment=one_of(ENGINE_OF),
    # Before anything is trained: it may not succeed.
    priority: 100
    conda:
        "../../envs/{environment}.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        python="python" if USES_CONDA else sys.executable,
        program=engine.__file__,
        engine=lambda wildcards: ENGINE_OF[wildcards.environment],
    message:
        "find or make the environment of {params.engine}"
    shell:
        "{params.python:q} {params.program:q} {params.engine:q} > {output:q} 2> {log:q}"


rule compress:
    input:
        unpack(inputs("compression")),
    output:
        **checkpoint(COMPRESSED, PATHS.compression),
    log:
        log("compress", "{model}", "{domain}", COMPRESSED),
    benchmark:
        PATHS.job_times("compress", "{model}", "{domain}", COMPRESSED)
    threads: CONFIG.compute.threads
    resources:
        **reserved("compress"),
    params:
        **depends("compression"),
    message:
        "compress {wildcards.dense} of {wildcards.model} on {wildcards.domain}: {wildcards.compressor}"
    script:
        "../scripts/compress.py"
