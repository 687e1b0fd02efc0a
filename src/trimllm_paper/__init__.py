"""The pipeline: knows the paper, the configuration, files and Snakemake."""
