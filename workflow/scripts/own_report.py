"""Write the report of a run on one's own data: one page that opens offline."""

from trimllm_paper.job import Job

with Job(snakemake) as job:
    from trimllm_paper.own import report

    report.write(page := snakemake.output[0], job.inputs, job.params)
    job.tell(f"report: {page}; serve it: trimllm serve {snakemake.config['results']}")
