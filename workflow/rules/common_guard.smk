# What keeps runs apart: a run refuses to start beside jobs that an earlier one left, and on results
# that it would not have made.

if workflow.is_main_process and not workflow.local_exec:
    if mistake := cluster.unfit_for_cluster(DEVICE, workflow.config_settings.config_args):
        sys.exit(f"error: {mistake}")


def refuse_while_at_work():
    """End with one line while jobs of an earlier run still write here."""
    if left := cluster.at_work(RESULTS):
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        sys.exit(
            f"error: an earlier run left jobs at work here: {'; '.join(left[:3])}{more}; wait until "
            "they have ended, or end them, and run again"
        )


def refuse_foreign():
    """End with one line if a result that is taken as it is is not of this run's making."""
    finished = [job for job in workflow.dag.jobs if not workflow.dag.needrun(job)]
    if found := lineage.foreign(finished):
        path, why = found
        sys.exit(f"error: {path} {why}; delete it (or move it away) and run again")


def refuse_foreign_replicates():
    """End with one line if results under another seed are not what this run would make under it."""
    folders = list(map(os.path.normpath, config["replicates"]))
    if found := lineage.foreign_replicate(workflow.dag.jobs, RESULTS, folders, config["seed"]):
        path, why = found
        sys.exit(
            f"error: {path} {why}; take its folder out of `replicates`, or make it anew by "
            "`make seeds`"
        )


def check_lineage_of_dag(build=workflow._build_dag):
    """Build the DAG, then check. There is no hook where nothing is left to do, and a whole folder of
    another configuration's results looks like that."""
    build()
    try:
        refuse_foreign()
        refuse_foreign_replicates()
    except UserError as error:
        sys.exit(f"error: {error}")


if workflow.is_main_process:
    workflow._build_dag = check_lineage_of_dag


def start_jobs_at_once():
    """Lift the limit on job starts a second where jobs are local: nothing there needs it.

    With one, Snakemake looks for jobs again each second once for every job that has ended, and takes
    a fifth of a core after a hundred.
    """
    if LOCAL:
        workflow.scheduler.job_rate_limiter = None
