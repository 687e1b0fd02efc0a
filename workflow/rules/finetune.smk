# The two baselines without trimming. Both see the same documents in the same order.


rule full_ft:
    input:
        unpack(base_files),
        train="<results>/data/{domain}/train.jsonl",
        report="<results>/data/{domain}/report.json",
    output:
        manifest="<results>/models/{model}/{domain}/full_ft/manifest.json",
        weights="<results>/models/{model}/{domain}/full_ft/model.safetensors",
        record="<results>/models/{model}/{domain}/full_ft/training.json",
    log:
        "logs/full_ft/{model}/{domain}.log",
    benchmark:
        "<results>/benchmarks/full_ft/{model}/{domain}.tsv"
    priority: 10
    threads: TEAM_THREADS
    resources:
        mem_mb=memory_for("full_ft"),
        runtime=runtime_for("full_ft"),
        gpu=TEAM_GPUS,
    params:
        epochs=config["finetune"]["epochs"],
        documents=config["finetune"]["documents"],
        ratio=None,
        criterion="both",
        settings=train_settings,
        loading=loading,
        code=CODE["train"],
    message:
        "fine-tune {wildcards.model} on {wildcards.domain}, all blocks"
    script:
        "../scripts/finetune.py"


use rule full_ft as sparse_ft with:
    input:
        unpack(base_files),
        train="<results>/data/{domain}/train.jsonl",
        report="<results>/data/{domain}/report.json",
        scan="<results>/scans/{model}/{domain}.json",
    output:
        manifest="<results>/models/{model}/{domain}/sparse_ft/manifest.json",
        weights="<results>/models/{model}/{domain}/sparse_ft/model.safetensors",
        record="<results>/models/{model}/{domain}/sparse_ft/training.json",
    log:
        "logs/sparse_ft/{model}/{domain}.log",
    benchmark:
        "<results>/benchmarks/sparse_ft/{model}/{domain}.tsv"
    resources:
        mem_mb=memory_for("sparse_ft"),
        runtime=runtime_for("sparse_ft"),
        gpu=TEAM_GPUS,
    params:
        epochs=config["finetune"]["epochs"],
        documents=config["finetune"]["documents"],
        ratio=TRIM["ratio"],
        criterion="both",
        settings=train_settings,
        loading=loading,
        code=CODE["train"],
    message:
        "fine-tune {wildcards.model} on {wildcards.domain}, r = {params.ratio}"
