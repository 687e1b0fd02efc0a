# Full and trimmed models in transformers, llama.cpp and vLLM, as people run them. A measurement takes
# every core, and is made on this machine only (see throughput.smk).

from trimllm.exporting.formats import ENGINES


rule engines:
    input:
        unpack(inputs(measuring.engines)),
    output:
        PATHS.engines("{hardware}", "{model}", "{engine}"),
    log:
        log("engines", "{hardware}", "{model}", "{engine}"),
    wildcard_constraints:
        engine=one_of(ENGINES),
    # After everything that others wait for.
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
