# What jobs may take, who is refused, and the last words of a run.


def memory_for(task):
    """Memory of a job, MiB, by the size of its model; more after an attempt that failed."""

    def memory(wildcards, attempt):
        need = demand.memory_mb(task, MODELS[wildcards.model], config, wildcards.get("ratio"))
        return demand.again(need, attempt)

    return memory


def training_documents(domain):
    """How many training documents a domain has, once it is prepared (0: for tests only); else None."""
    if domain not in known_sizes:
        file = Path(RESULTS, "data", str(domain), "report.json")
        if not file.is_file():
            return None
        known_sizes[domain] = read_json(file)["splits"].get("train", {"documents": 0})["documents"]
    return known_sizes[domain]


known_sizes = {}


def runtime_for(task):
    """Time limit of a job, minutes, by the size of its model; more after an attempt that failed."""

    def runtime(wildcards, attempt):
        there = training_documents(wildcards.get("domain"))
        need = demand.runtime_minutes(task, MODELS[wildcards.model], config, USES_GPU, there)
        return demand.again(need, attempt)

    return runtime


def refuse(key, value, problem):
    """End with one line that names the file, the key and its value."""
    source = settings.source_of(key, value, workflow.configfiles)
    sys.exit(f"error: {settings.ConfigError(source, key, value, problem)}")


def refuse_too_large():
    """End with one line if a job of this run needs more memory than this machine has."""
    needs = [
        (
            demand.memory_mb(
                task,
                MODELS[job.wildcards_dict["model"]],
                config,
                job.wildcards_dict.get("ratio"),
            ),
            job,
        )
        for job in workflow.dag.needrun_jobs()
        if (task := demand.task_of(job.rule.name))
    ]
    need, job = max(needs, key=lambda pair: pair[0], default=(0, None))
    have = memory_bytes() >> 20
    if workflow.local_exec and need > have:
        model = job.wildcards_dict["model"]
        refuse(
            ["models", model, "parameters"],
            MODELS[model]["parameters"],
            f"{job.rule.name} needs about {need:,} MiB of memory, this machine has {have:,} MiB; "
            "ask for a target that does without, or run where there is more",
        )


def refuse_too_large_shapes():
    """End with one line if a shape that is timed on this machine's processor does not fit it."""
    shapes_timed = {
        shape_of(job.wildcards)
        for job in workflow.dag.needrun_jobs()
        if job.rule.name == "benchmark_shape"
    }
    have = memory_bytes() >> 20
    for name in shapes_timed if workflow.local_exec and not USES_GPU else ():
        need = demand.benchmark_mb(shapes.parameters(name), models=1)
        if need > have:
            problem = f"{name} takes about {need:,} MiB of memory, this machine has {have:,} MiB"
            refuse(["benchmark", "shapes"], BENCH["shapes"], problem)


def refuse_too_small_gpus():
    """End with one line if this machine's GPUs are too few or too small for a job of this run."""
    if not (USES_GPU and workflow.local_exec):
        return
    jobs = [
        (task, MODELS[job.wildcards_dict["model"]])
        for job in workflow.dag.needrun_jobs()
        if (task := demand.task_of(job.rule.name)) not in (None, "fetch")
    ]
    gpus = gpu_plan.gpus_here() if jobs else []
    if not jobs or (not gpus and demand.gpus()):  # there are some, and nothing tells their size
        return
    if found := gpu_plan.shortfall(jobs, config, gpus):
        key, value, problem = found
        refuse(["compute", key], value, problem)


def refuse_past_the_end():
    """End with one line if a checkpoint was asked for that lies past the end of its chain."""
    for job in workflow.dag.needrun_jobs():
        if job.rule.name.startswith("trim_epoch"):
            told = job.wildcards_dict
            end = end_of_chain(told["model"], int(told["drops"]))
            if int(told["drop"]) > end:
                refuse(
                    ["trim", "kept_percent"],
                    TRIM["kept_percent"],
                    f"chains of {told['model']} with {told['drops']} drops an epoch end at {end}, and "
                    f"drop_{told['drop']} was asked for; keep fewer units here, for the learning "
                    "rate decays over the whole chain",
                )


def refuse_unnamed_hardware():
    """End with one line if measurements go to machines of a cluster that nobody has named."""
    timed = any(job.rule.name.startswith("benchmark") for job in workflow.dag.needrun_jobs())
    for key in ("hardware", "threads") if timed and not workflow.local_exec else ():
        if BENCH[key] is None:
            refuse(
                ["benchmark", key],
                settings.MISSING,
                "the machine that submits says nothing of those that measure; say what they are, or "
                "run `snakemake benchmarks` on one of them first",
            )


def print_summary(failed):
    """Last words of a run: how much was done, how long it took, where to look."""
    jobs = len([job for job in workflow.dag.finished_jobs if not job.is_norun])
    seconds = time.time() - workflow.start_time.timestamp()
    done = f"{jobs} jobs in {seconds // 60:.0f} min {seconds % 60:.0f} s"
    if failed:
        print(f"Stopped after {done}. What failed is named above, with its log.", file=sys.stderr)
        return
    stem = f"{workflow.pathvars.get('results')}/tables/table2"
    table = f"; Table 2: {stem}.md (.csv, .tex)" if os.path.exists(f"{stem}.md") else ""
    print(f"Done: {done}{table}", file=sys.stderr)
