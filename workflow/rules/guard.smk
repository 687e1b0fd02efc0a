# The only file that looks at Snakemake's own objects: what they say of this run, what is refused, and
# the last words. Nothing of theirs is changed (but see `cluster.keep_unanswered_jobs`).
#
# What a configuration, a result or a target makes wrong is refused while the DAG is built, so also in a
# dry run, where nothing is left to do, and where this workflow is a module of another. What only jobs
# that are about to run may meet (memory, GPUs) is refused when they start.

import sys
import time
from itertools import starmap
from pathlib import Path

from snakemake.io import IOFile

from trimllm.base.errors import UserError
from trimllm_paper import forkserver, plan, resources, shapes
from trimllm_paper.integrity import cluster, lineage
from trimllm_paper.told import over_live_lines

# A file given by --configfile stands alone: nothing of the default is mixed into it.
if not workflow.overwrite_configfiles:

    configfile: workflow.source_path("../../config/config.yaml")


CONFIG_FILES = [Path(file) for file in workflow.configfiles]
IS_MAIN = workflow.is_main_process
# Jobs run on this machine. (A number of nodes is given for clusters only.)
IS_LOCAL = workflow.resource_settings.nodes is None
# (Who only submits has no number of cores.)
CORES = workflow.resource_settings.cores
USES_CONDA = "conda" in map(str, workflow.deployment_settings.deployment_method)


def refuse(problem):
    """End the run with one line."""
    sys.exit(f"error: {problem}")


def declare_resources(available):
    """Local jobs share this machine's memory and its GPUs."""
    for name, amount in available.items():
        if IS_LOCAL and IS_MAIN and name not in workflow.global_resources:
            workflow.register_resource(name, amount)


def refuse_unfit_for_cluster():
    """What may stand in a local run's configuration, and not in that of one that submits its jobs."""
    if IS_MAIN and not workflow.local_exec:
        words = workflow.config_settings.config_args
        if mistake := cluster.unfit_for_cluster(CONFIG.compute, words):
            refuse(mistake)


# ---- while the DAG is built ------------------------------------------------------------------------


def is_remade(path, wanted):
    """Whether Snakemake noted other parameters when it made a file, and so makes it anew."""
    noted = workflow.persistence.metadata(IOFile(path))
    by_params = "params" in map(str, workflow.rerun_triggers)
    return bool(noted and by_params and wanted not in str(noted.params))


def is_forced(job):
    """Whether a job was asked to run whatever lies there (--forceall, --force, --forcerun FILE)."""
    settings = workflow.dag_settings
    named = {*settings.forcerun, *(settings.targets if settings.forcetargets else ())}
    return settings.forceall or not named.isdisjoint(job.outputs)


def refuse_foreign(job):
    """Results of a job that stand ready must be this run's own, those of other seeds its like."""
    if not IS_MAIN or is_forced(job):
        return
    try:
        if found := lineage.foreign(job, is_remade):
            refuse(f"{found[0]} {found[1]}; delete it (or move it away) and run again")
        if found := REPLICATES.foreign(job):
            refuse(
                f"{found[0]} {found[1]}; take its folder out of `replicates`, or make it anew by "
                "`make seeds`"
            )
    except UserError as error:
        refuse(error)


# ---- when jobs start -------------------------------------------------------------------------------


def jobs_to_run():
    """Kind of task, model and wildcards of every job that is about to run."""
    for job in workflow.dag.needrun_jobs():
        yield job.rule.name, dict(job.wildcards_dict)


def refuse_while_at_work():
    """Jobs of an earlier run still write here."""
    if left := cluster.at_work(CONFIG.results):
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        refuse(
            f"an earlier run left jobs at work here: {'; '.join(left[:3])}{more}; wait until they have "
            "ended, or end them, and run again"
        )


def refuse_too_large():
    """A job does not fit the machine, its measurement would name another one or lacks a kernel."""
    jobs = list(jobs_to_run())
    try:
        if found := plan.refusal(starmap(plan.Job, jobs), CONFIG, here=workflow.local_exec):
            refuse(complaint(*found))
        shapes.refuse_untimed(jobs, CONFIG.throughput)
    except UserError as error:
        refuse(error)


def start_forkserver():
    """Import once for many jobs, if they run on this machine, and in the environment of this process."""
    own = workflow.deployment_settings.deployment_method
    if workflow.local_exec and not (USES_GPU or own) and forkserver.can_serve():
        jobs = ((rule, resources.task_of(rule)) for rule, _ in jobs_to_run())
        if CONFIG.compute.forkserver and (rooms := forkserver.imported_by(jobs)):
            forkserver.start(rooms, config["models"])


def plan_pace():
    """Seconds that each job is expected to take, by which the logger says how long the run still will."""
    for job in workflow.dag.needrun_jobs():
        if task := resources.task_of(job.rule.name):
            plan.Pace.seconds[job.jobid] = RESOURCES.seconds(task, job.wildcards_dict)


def print_summary(failed):
    """Last words of a run: how much was done, how long it took, where to look."""
    jobs = [job for job in workflow.dag.finished_jobs if not job.is_norun]
    seconds = time.time() - workflow.start_time.timestamp()
    print(over_live_lines(sys.stderr), end="", file=sys.stderr)
    done = f"{len(jobs)} jobs in {seconds // 60:.0f} min {seconds % 60:.0f} s"
    if failed:
        how = "What failed is named above, with its log; the same command goes on from here."
        print(f"Stopped after {done}. {how}", file=sys.stderr)
        return
    folder = Path(PATHS.table("table2")).parent
    made = sorted(f for job in jobs for f in job.output if Path(f).match(f"{folder}/*.md"))
    tables = f"{len(made)} in {folder}" if made[3:] else ", ".join(made)
    where = f"; tables: {tables} (.csv, .tex)" if made else ""
    print(f"Done: {done}{where}", file=sys.stderr)
    for model in CONFIG.models if CONFIG.own else ():
        page = Path(PATHS.chosen(model, "report.html"))
        if page.is_file():
            print(Choice.read(PATHS.chosen(model)).told, file=sys.stderr)
            print(f"Report: {page}; serve it: trimllm serve {PATHS.results}", file=sys.stderr)


onstart:
    refuse_while_at_work()
    refuse_too_large()
    if not workflow.local_exec and workflow.executor_plugin.name == "slurm":
        cluster.keep_unanswered_jobs()
    start_forkserver()
    plan_pace()


onsuccess:
    print_summary(failed=False)


onerror:
    print_summary(failed=True)
