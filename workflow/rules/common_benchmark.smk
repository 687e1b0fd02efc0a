# What the rules of throughput ask: which cells there are, their inputs, parameters, resources.


def benchmark_domain():
    """The domain whose checkpoints are timed: which units it drops decides a little."""
    return BENCH["domain"] or config["domains"][0]


def compressors_of_checkpoints():
    """Compressors that make checkpoints here, of those whose speed the tables show."""
    methods = config.get("compress", {}).get("methods", [])
    return [method for method in methods if method in BENCH["compressors"]]


def benchmark_recipes(model):
    """Recipes of a model's checkpoints that are timed."""
    kept = [f"{run_name(c)}/{name}" for c in TRIM["criteria"] for name in kept_names(model)]
    compressed = [f"full_ft+{method}" for method in compressors_of_checkpoints()]
    # The paper puts compressors on its first kept fraction.
    drops = settings.drops_for(TRIM["kept_percent"][0], units(model), TRIM["drops_per_epoch"])
    trimmed = f"{run_name(TRIM['criteria'][0])}/drop_{settings.padded(drops, units(model))}"
    both = [f"{trimmed}+{m}" for m in compressors_of_checkpoints() if m in BENCH["composed"]]
    return ["full_ft", *compressed, *kept, *both]


def shape_recipes():
    """Recipes of a shape: all compressors on the full model, some on the first kept fraction."""
    kept = BENCH["kept_percent"]
    patterns = BENCH["patterns"]
    trims = [f"trim_{pattern}/keep_{percent:g}" for pattern in patterns for percent in kept]
    return [
        "full",
        *(f"full+{method}" for method in BENCH["compressors"]),
        *trims,
        *(f"{trim}+{m}" for trim in trims[:1] for m in BENCH["composed"]),
    ]


def benchmark_files():
    """Every measurement of this machine."""
    timed = MODELS if BENCH["checkpoints"] else []
    cells = [(model, recipe) for model in timed for recipe in benchmark_recipes(model)]
    cells += [(f"random-{name}", recipe) for name in BENCH["shapes"] for recipe in shape_recipes()]
    return [f"<results>/bench/{HARDWARE}/{model}/{recipe}.json" for model, recipe in cells]


def composed_evaluations():
    """The evaluations that Table 7 is made from: its domains, trimmed and compressed as well.

    Accuracy hangs on no timing: it is shown whether checkpoints are timed or not.
    """
    return [
        f"<results>/eval/{model}/{domain}/{recipe}/{task}.json"
        for model in main_models()
        for domain in DOMAINS
        if domain in ("sciq", "medmcqa", "financeqa")
        for recipe in ["pretrained", "sparse_ft", *benchmark_recipes(model)]
        for task in DOMAINS[domain]["tests"]
    ]


def benchmarks_of_other_machines():
    """Measurements that were copied into <results>/bench/ from elsewhere."""
    files = sorted(Path(RESULTS, "bench").rglob("*.json"))
    return [str(file) for file in files if file.relative_to(RESULTS).parts[1] != HARDWARE]


def benchmarked_files(wildcards):
    """Input: a checkpoint, and the full model that it is compared with."""
    folder = f"<results>/models/{wildcards.model}/{benchmark_domain()}"
    full = checkpoint_files(f"{folder}/full_ft")
    return checkpoint_files(f"{folder}/{wildcards.recipe}") | {
        "full": full["manifest"],
        "full_weights": full["weights"],
    }


def chain_records():
    """Input: the recorded chains that patterns follow."""
    return [pattern for pattern in BENCH["patterns"].values() if isinstance(pattern, str)]


def shape_of(wildcards):
    """Name of the shape that a folder of random weights stands for."""
    return wildcards.model.removeprefix(cell.RANDOM)


def benchmark_protocol():
    """What a measurement does; becomes `trimllm.throughput.session.Protocol`."""
    return {key: BENCH[key] for key in ("tokens", "generate", "repeats", "prefills")}


def benchmark_how(wildcards):
    """On what it runs; becomes part of `trimllm.throughput.subject.Subject`."""
    return {
        "dtype": BENCH["dtype"],
        "device": "cuda" if USES_GPU else "cpu",
        "threads": BENCH_THREADS,
        "group_size": BENCH["group_size"],
    }


def benchmark_memory(wildcards):
    """Memory of a measurement, MiB: both models, where the machine has room for both."""
    if wildcards.model in MODELS:
        parameters = MODELS[wildcards.model]["parameters"]
    else:
        parameters = shapes.parameters(shape_of(wildcards))
    return min(demand.benchmark_mb(parameters), memory_bytes() >> 20)


def benchmark_runtime(wildcards):
    """Time limit of a measurement, minutes."""
    return 30 if USES_GPU else 60


def refuse_benchmarks():
    """End with one line if a measurement of this run lacks its kernel or its memory."""
    protocol = Protocol(**benchmark_protocol())
    try:
        protocol.check()
        for job in workflow.dag.needrun_jobs():
            if job.rule.name == "benchmark_shape":
                told = job.wildcards_dict
                name = told["model"].removeprefix(cell.RANDOM)
                how = benchmark_how(None) | {"dtype": machine.fast_dtype("cpu")}
                subject, _ = cell.shape_subject(name, told["recipe"], BENCH["patterns"], **how)
                subject.check()
    except UserError as error:
        sys.exit(f"error: benchmark: {error}")
