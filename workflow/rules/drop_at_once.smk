# Droppings by rule (Table 3): half of the blocks at once, then fine-tuning.


rule drop_at_once:
    input:
        unpack(base_files),
        train="<results>/data/{domain}/train.jsonl",
        report="<results>/data/{domain}/report.json",
        scan="<results>/scans/{model}/{domain}.json",
    output:
        manifest=temp(
            "<results>/models/{model}/{domain}/trim_{by}_r{ratio}_d{drops}/drop_{drop}/manifest.json"
        ),
        weights=temp(
            "<results>/models/{model}/{domain}/trim_{by}_r{ratio}_d{drops}/drop_{drop}/model.safetensors"
        ),
        record="<results>/models/{model}/{domain}/trim_{by}_r{ratio}_d{drops}/drop_{drop}/training.json",
    log:
        "logs/drop_at_once/{model}/{domain}/trim_{by}_r{ratio}_d{drops}/drop_{drop}.log",
    benchmark:
        "<results>/benchmarks/drop_at_once/{model}/{domain}/trim_{by}_r{ratio}_d{drops}/drop_{drop}.tsv"
    wildcard_constraints:
        by="|".join(names.RULES),
    threads: TEAM_THREADS
    resources:
        mem_mb=memory_for("sparse_ft"),
        runtime=runtime_for("sparse_ft"),
        gpu=TEAM_GPUS,
    params:
        epochs=rule_epochs,
        documents=TRIM["documents"],
        settings=train_settings,
        loading=loading,
        code=CODE["train"],
    message:
        "drop {wildcards.drops} units of {wildcards.model} at once ({wildcards.by}), fine-tune on {wildcards.domain}"
    script:
        "../scripts/drop_at_once.py"
