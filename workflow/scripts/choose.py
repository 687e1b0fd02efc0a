"""Choose a checkpoint by the wishes, and say which; one JSON."""

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm_paper.choices import Choice
    from trimllm_paper.own import choice

    params, inputs = job.params, job.inputs
    found = choice.candidates(
        inputs["trainings"], inputs["epochs"], inputs["timings"], params["format"]
    )
    decision = choice.decide(found, params["wanted"])
    keys = ("domain", "hardware", "format", "wanted")
    Choice(
        **job.wildcards,
        **{key: params[key] for key in keys},
        candidates=found,
        **decision,
        provenance=job.provenance(seed=params["seed"]),
    ).write(snakemake.output[0])
    job.output.tell(decision["told"])
