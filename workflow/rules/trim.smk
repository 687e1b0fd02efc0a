# The chain: pretrained -> drop_00 -> ... -> drop_KK, one job an epoch, resumable after each.
# Weights are kept for the checkpoints that are evaluated, and the record of every epoch always.


rule trim_epoch:
    input:
        unpack(previous_files),
        train="<results>/data/{domain}/train.jsonl",
        calibration=calibration_file,
        report="<results>/data/{domain}/report.json",
    output:
        manifest=temp(
            "<results>/models/{model}/{domain}/trim_{criterion}_r{ratio}_d{drops}/drop_{drop}/manifest.json"
        ),
        weights=temp(
            "<results>/models/{model}/{domain}/trim_{criterion}_r{ratio}_d{drops}/drop_{drop}/model.safetensors"
        ),
        record="<results>/models/{model}/{domain}/trim_{criterion}_r{ratio}_d{drops}/drop_{drop}/epoch.json",
    log:
        "logs/trim_epoch/{model}/{domain}/trim_{criterion}_r{ratio}_d{drops}/drop_{drop}.log",
    benchmark:
        "<results>/benchmarks/trim_epoch/{model}/{domain}/trim_{criterion}_r{ratio}_d{drops}/drop_{drop}.tsv"
    # A chain is the longest way through the DAG: its next epoch goes before anything else.
    priority: 20
    threads: TEAM_THREADS
    resources:
        mem_mb=memory_for("trim"),
        runtime=runtime_for("trim"),
        gpu=TEAM_GPUS,
    params:
        epoch=epoch_number,
        epochs=epochs_of_chain,
        units=lambda wildcards: units(wildcards.model),
        documents=TRIM["documents"],
        scanned=scanned_documents,
        eliminate=TRIM["eliminate"],
        row_budget=TRIM["row_budget"],
        settings=train_settings,
        loading=loading,
        code=CODE["train"],
    message:
        "trim {wildcards.model} on {wildcards.domain} by {wildcards.criterion}: epoch {params.epoch}, to {wildcards.drop} of {params.units} units dropped"
    script:
        "../scripts/trim_epoch.py"


use rule trim_epoch as trim_epoch_kept with:
    output:
        manifest="<results>/models/{model}/{domain}/trim_{criterion}_r{ratio}_d{drops}/drop_{drop}/manifest.json",
        weights="<results>/models/{model}/{domain}/trim_{criterion}_r{ratio}_d{drops}/drop_{drop}/model.safetensors",
        record="<results>/models/{model}/{domain}/trim_{criterion}_r{ratio}_d{drops}/drop_{drop}/epoch.json",
    wildcard_constraints:
        model=models_of_kept(MODELS),


ruleorder: trim_epoch_kept > trim_epoch


rule record:
    input:
        epoch_records,
    output:
        "<results>/records/{model}/{domain}/{run,trim_[^/]+}.jsonl",
    log:
        "logs/record/{model}/{domain}/{run}.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    message:
        "gather the epochs of {wildcards.run} for {wildcards.model} on {wildcards.domain}"
    script:
        "../scripts/record.py"
