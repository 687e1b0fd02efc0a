# Throughput and memory. A measurement takes every core, so that no other job runs beside it, and
# is made on this machine only: files of other machines are copied into <results>/bench/ and appear
# in the tables.


rule benchmark:
    input:
        unpack(benchmarked_files),
    output:
        "<results>/bench/{hardware}/{model}/{recipe}.json",
    log:
        "logs/benchmark/{hardware}/{model}/{recipe}.log",
    # After everything that others wait for.
    priority: -10
    threads: BENCH_CORES
    resources:
        mem_mb=benchmark_memory,
        runtime=benchmark_runtime,
        gpu=GPUS,
    params:
        how=benchmark_how,
        protocol=benchmark_protocol(),
        compiled=BENCH["compiled"],
        shape=None,
        patterns={},
        domain=benchmark_domain(),
        label=lambda wildcards: MODELS[wildcards.model]["label"],
        loading=loading,
        seed=config["seed"],
        code=CODE["benchmark"],
    message:
        "time {wildcards.recipe} of {wildcards.model} beside the full model"
    script:
        "../scripts/benchmark.py"


use rule benchmark as benchmark_shape with:
    input:
        chain_records(),
    output:
        "<results>/bench/{hardware}/{model}/{recipe}.json",
    wildcard_constraints:
        model="|".join(f"random-{re.escape(name)}" for name in BENCH["shapes"]) or "no shape",
        recipe=r"(full|trim_[a-z0-9]+/keep_[0-9.]+)(\+[a-z][a-z0-9_]*)?",
    params:
        how=benchmark_how,
        protocol=benchmark_protocol(),
        compiled=BENCH["compiled"],
        shape=shape_of,
        patterns=BENCH["patterns"],
        # Nobody has made these weights.
        domain=None,
        label=None,
        loading=None,
        seed=config["seed"],
        code=CODE["benchmark"],
    message:
        "time {wildcards.recipe} of {wildcards.model} beside the full model"
