"""Choose a checkpoint by what was asked, and say which; one JSON."""

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm_paper.choices import Choice
    from trimllm_paper.own import choice

    how, inputs = job.how, job.inputs
    found = choice.candidates(
        inputs["trainings"], inputs["epochs"], inputs["timings"], how["format"]
    )
    told = choice.told(found, how["wanted"])
    keys = ("domain", "hardware", "format", "wanted")
    Choice(
        **job.wildcards,
        **{key: how[key] for key in keys},
        candidates=found,
        **told,
        provenance=job.provenance(seed=how["seed"]),
    ).write(snakemake.output[0])
    job.output.tell(told["told"])
