# Everything that reads Snakemake's own objects. A wrong configuration, result or target is refused
# while the DAG is built, also in a dry run; a lack of memory or GPUs when the run starts.

from snakemake.io import IOFile

from trimllm_paper import invocation, run_start
from trimllm_paper.integrity import lineage
from trimllm_paper.records import Choice

if not workflow.overwrite_configfiles:  # a file given by --configfile stands alone

    configfile: invocation.DEFAULT


def is_remade(path, params):
    """Whether Snakemake noted other parameters of a file, and so makes it anew."""
    noted = workflow.persistence.metadata(IOFile(path))
    return noted and params not in str(noted.params)


def refuse_foreign(rule, job):
    """Refuse existing results of another run, unless they are remade or accepted (`--touch`)."""
    settings = workflow.dag_settings
    forced = {*settings.forcerun, *(settings.targets if settings.forcetargets else ())}
    names = {rule, f"{rule}_kept", *(f"{rule}_{domain}" for domain in CONFIG.tested)}
    is_forced = settings.forceall or not forced.isdisjoint({*names, *job.outputs})
    if workflow.is_main_process and not is_forced:
        if workflow.touch:
            lineage.accept(job)
        problem = lineage.foreign(job, is_remade)
        problem = problem or lineage.foreign_replicate(job, CONFIG.results, CONFIG.replicates)
        if problem:
            raise UserError(problem)


def of_chosen(kind):
    """Input function: files of the checkpoint that is chosen, once it is."""
    choice = lambda wildcards: Choice.read(checkpoints.choose.get(**wildcards).output[0])
    return or_refuse(lambda wildcards: TARGETS.own_chosen(wildcards.model, choice(wildcards))[kind])


onstart:
    or_refuse(run_start.prepare)(workflow, CONFIG)
