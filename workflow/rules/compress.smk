# Compressors on any recipe's checkpoint: `full_ft+awq_int4`, `trim_.../drop_30+gptq_int4`.


rule compress:
    input:
        unpack(dense_files),
        train="<results>/data/{domain}/train.jsonl",
        report="<results>/data/{domain}/report.json",
    output:
        manifest="<results>/models/{model}/{domain}/{dense}+{compressor}/manifest.json",
        weights="<results>/models/{model}/{domain}/{dense}+{compressor}/model.safetensors",
        record="<results>/models/{model}/{domain}/{dense}+{compressor}/compression.json",
    log:
        "logs/compress/{model}/{domain}/{dense}+{compressor}.log",
    benchmark:
        "<results>/benchmarks/compress/{model}/{domain}/{dense}+{compressor}.tsv"
    threads: config["compute"]["threads"]
    resources:
        mem_mb=memory_for("compress"),
        runtime=runtime_for("compress"),
        gpu=GPUS,
    params:
        engine=engine_of,
        calibration=COMPRESS["calibration_documents"],
        held_back=COMPRESS["held_back_documents"],
        settings=compress_settings,
        loading=loading,
        code=CODE["compress"],
    message:
        "compress {wildcards.dense} of {wildcards.model} on {wildcards.domain}: {wildcards.compressor}"
    script:
        "../scripts/compress.py"
