# Compressors on any recipe's checkpoint: `full_ft+awq_int4`, `trim_.../drop_30+gptq_int4`.


# With `--sdm conda` from the YAML; else what `make envs` makes, made now where it is missing. What it
# leaves behind is the path of a Python.
rule engine_environment:
    output:
        temp("<results>/engines/{environment}.txt"),
    log:
        "logs/engine_environment/{environment}.log",
    wildcard_constraints:
        environment="|".join(ENGINE_OF),
    # Before anything is trained: it may not succeed.
    priority: 100
    conda:
        "../../envs/{environment}.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
    params:
        python=ENGINE_PYTHON,
        program=str(ROOT / "src" / "trimllm_paper" / "commands" / "engine.py"),
        engine=lambda wildcards: ENGINE_OF[wildcards.environment],
    message:
        "find or make the environment of {params.engine}"
    shell:
        "{params.python:q} {params.program:q} {params.engine:q} > {output:q} 2> {log:q}"


rule compress:
    input:
        unpack(dense_files),
        unpack(engine_files),
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
