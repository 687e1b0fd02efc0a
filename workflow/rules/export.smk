# Any recipe's checkpoint as an engine reads it: `gguf_q8_0` for llama.cpp, `vllm`, `padded` for anything else.


rule export:
    input:
        unpack(inputs(measuring.export)),
        timings=lambda wildcards: (
            TARGETS.own_report(wildcards.model)["throughput"] if CONFIG.own else []
        ),
    output:
        manifest=PATHS.export("{model}", "{domain}", "{recipe}", "{format}", "manifest.json"),
        record=PATHS.export("{model}", "{domain}", "{recipe}", "{format}"),
    log:
        "logs/export/{model}/{domain}/{recipe}/{format}.log",
    benchmark:
        f"{BENCHMARKS}/export/{{model}}/{{domain}}/{{recipe}}/{{format}}.tsv"
    wildcard_constraints:
        domain=one_of(CONFIG.domain_specs),
    threads: CONFIG.compute.threads
    resources:
        **reserved("export"),
    params:
        **depends(measuring.export),
    message:
        "export {wildcards.recipe} of {wildcards.model} on {wildcards.domain} as {wildcards.format}"
    script:
        "../scripts/export.py"
