# Compressors on any recipe's checkpoint: `full_ft+awq_int4`, `trim_paper/drop_30+gptq_int4`.


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
