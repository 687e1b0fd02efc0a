# All that looks at Snakemake's own objects. What a configuration, a result or a target makes wrong is
# refused while the DAG is built, so also in a dry run; what only running jobs meet (memory, GPUs) is
# refused when they start.

import sys
import time
from pathlib import Path

from snakemake.io import IOFile

from trimllm.base.errors import UserError
from trimllm_paper import interrupts, invocation, plan, resources, shapes
from trimllm_paper.integrity import cluster, lineage

DEFAULT_CONFIG = workflow.source_path("../../config/config.yaml")  # a copy in Snakemake's cache

# A file given by --configfile stands alone: nothing of the default is mixed into it.
if not workflow.overwrite_configfiles:

    configfile: DEFAULT_CONFIG


CONFIG_FILES = [
    invocation.DEFAULT if Path(file) == Path(DEFAULT_CONFIG) else Path(file)
    for file in workflow.configfiles
]
IS_MAIN = workflow.is_main_process
CORES = workflow.resource_settings.cores  # None where jobs are only submitted


def refuse(problem):
    """End the run with one line."""
    sys.exit(f"error: {problem}")


def is_remade(path, wanted):
    """Whether Snakemake noted other parameters of a file, and so makes it anew."""
    noted = workflow.persistence.metadata(IOFile(path))
    by_params = "params" in map(str, workflow.rerun_triggers)
    return bool(noted and by_params and wanted not in str(noted.params))


def is_forced(rule, job):
    """Whether a job runs whatever lies there (--forceall, --force, --forcerun)."""
    settings = workflow.dag_settings
    named = {*settings.forcerun, *(settings.targets if settings.forcetargets else ())}
    by_rule = any(name.startswith(rule) for name in named)
    return settings.forceall or by_rule or not named.isdisjoint(job.outputs)


def refuse_foreign(rule, job):
    """Results that lie there must be this run's own, those of other seeds its like."""
    if IS_MAIN and not is_forced(rule, job):
        if workflow.touch:  # `--touch`: the user accepts what lies there
            lineage.accept(job)
        if problem := lineage.foreign(job, is_remade):
            remedy = "delete it (or move it away) and run again; `snakemake --touch` with the same"
            refuse(f"{problem}; {remedy} target accepts all that lies there as it is")
        if problem := lineage.foreign_replicate(job, PATHS.results, CONFIG.replicates):
            remedy = "take its folder out of `replicates`, or make it again by `make seeds`"
            refuse(f"{problem}; {remedy}")


onstart:
    needed = [(job.rule.name, dict(job.wildcards_dict)) for job in workflow.dag.needrun_jobs()]
    try:
        jobs = [plan.Job(*one) for one in needed]
        if problem := plan.refusal(jobs, CONFIG, here=workflow.local_exec):
            refuse(complaint(*problem))
        shapes.refuse_untimed(needed, CONFIG.throughput)
    except UserError as error:
        refuse(error)
    if not workflow.local_exec and workflow.executor_plugin.name == "slurm":
        cluster.keep_unanswered_jobs()
    for job in workflow.dag.needrun_jobs():
        if task := resources.task_of(job.rule.name):
            plan.Pace.seconds[job.jobid] = RESOURCES.seconds(task, job.wildcards_dict)
    interrupts.wait_once(workflow.local_exec)


def summary():
    """How many jobs were done, in what time."""
    done = sum(not job.is_norun for job in workflow.dag.finished_jobs)
    seconds = time.time() - workflow.start_time.timestamp()
    return f"{done} jobs in {seconds // 60:.0f} min {seconds % 60:.0f} s"


onsuccess:
    tables = Path(PATHS.table("table2")).parent
    shown = f"; tables: {tables} (.md, .csv, .tex)" if tables.is_dir() else ""
    print(f"Done: {summary()}{shown}", file=sys.stderr)
    for page in own_pages():
        print(page, file=sys.stderr)


onerror:
    remedy = "What failed is named above, with its log; the same command goes on from here."
    print(f"Stopped after {summary()}. {remedy}", file=sys.stderr)
