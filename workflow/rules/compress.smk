# Compressors on any recipe's checkpoint: `full_ft+awq_int4`, `trim_paper/drop_30+gptq_int4`.


rule compress:
    input:
        unpack(inputs(measuring.compress)),
    output:
        **checkpoint(COMPRESSED, PATHS.compression),
    log:
        "logs/compress/{model}/{domain}/{dense}+{compressor}.log",
    benchmark:
        f"{BENCHMARKS}/compress/{{model}}/{{domain}}/{{dense}}+{{compressor}}.tsv"
    threads: CONFIG.compute.threads
    resources:
        **reserved("compress"),
    params:
        **depends(measuring.compress),
    message:
        "compress {wildcards.dense} of {wildcards.model} on {wildcards.domain}: {wildcards.compressor}"
    script:
        "../scripts/compress.py"
