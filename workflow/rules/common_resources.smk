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
        key, value = ["models", model, "parameters"], MODELS[model]["parameters"]
        error = settings.ConfigError(
            settings.source_of(key, value, workflow.configfiles),
            key,
            value,
            f"{job.rule.name} needs about {need:,} MiB of memory, this machine has {have:,} MiB; "
            "ask for a target that does without, or run where there is more",
        )
        sys.exit(f"error: {error}")


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
