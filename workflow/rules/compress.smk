# Compressors on any recipe's checkpoint: `full_ft+awq_int4`, `trim_paper/drop_30+gptq_int4`.

from trimllm.compress.methods import EXTERNAL
from trimllm_paper.commands import engine

ENGINE_OF = {environment: name for name, environment in EXTERNAL.items()}


# The Python of an engine with its own environment: made from the YAML with `--sdm conda`, else the one
# of `make envs`, which is made now where it is missing.
rule engine_environment:
    output:
        temp(measuring.engine_file(JOBS, "{environment}")),
    log:
        log("engine_environment", "{environment}"),
    wildcard_constraints:
        environment=one_of(ENGINE_OF),
    # It may fail: before anything is trained.
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
        unpack(inputs(measuring.compress)),
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
        **depends(measuring.compress),
    message:
        "compress {wildcards.dense} of {wildcards.model} on {wildcards.domain}: {wildcards.compressor}"
    script:
        "../scripts/compress.py"
