# Here for whoever runs `snakemake` in this folder; the workflow is workflow/Snakefile.
include: "workflow/Snakefile"
