"""Choose the checkpoint that is exported, by what the section `own` wants; one JSON."""

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm_paper.own import choice
    from trimllm_paper.records import Choice

    params, inputs = job.params, job.inputs
    records = inputs["trainings"], inputs["epochs"], inputs["timings"]
    candidates = choice.candidates(*records, params["format"])
    chosen = choice.decide(candidates, params["required"])
    settings = {key: params[key] for key in ("domain", "hardware", "format", "required")}
    record = Choice(**job.measured(), **settings, **chosen, candidates=candidates)
    record.write(snakemake.output[0])
    job.tell(chosen["summary"])
