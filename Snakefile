# TrimLLM from pretrained model to paper table. Stages in the order of the data, each in its own
# file under workflow/rules; config/README.md documents every key of the configuration.
#
#   snakemake --cores all table2
#   snakemake --cores all table2 --configfile config/smoke.yaml
#   snakemake -n table2                                           what would run

from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

# A file given by --configfile stands alone: nothing of the default is mixed into it.
if not workflow.overwrite_configfiles:

    configfile: Path(workflow.basedir, "config", "config.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/common_benchmark.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/scan.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/trim.smk"
include: "workflow/rules/compress.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/benchmark.smk"
include: "workflow/rules/paper.smk"


rule all:
    default_target: True
    input:
        rules.table2.output,
        all_records(),
        all_figures(),


rule figures:
    input:
        all_figures(),


rule data:
    input:
        all_data(),


rule checkpoints:
    input:
        all_checkpoints(),
        all_records(),


rule evaluations:
    input:
        all_evaluations(),


rule benchmarks:
    input:
        benchmark_files(),


localrules:
    all,
    data,
    checkpoints,
    evaluations,
    benchmarks,
    fetch_wheel,
    record,
    table1,
    table2,
    table7,
    figures,
    accuracy_by_kept,


onstart:
    refuse_too_large()
    refuse_benchmarks()


onsuccess:
    print_summary(failed=False)


onerror:
    print_summary(failed=True)
