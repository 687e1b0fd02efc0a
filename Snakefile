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


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/common_resources.smk"
include: "workflow/rules/common_guard.smk"
include: "workflow/rules/common_benchmark.smk"
include: "workflow/rules/common_tables.smk"
include: "workflow/rules/common_paper.smk"


# Kept results (results/reference) are rendered again, and never made again.
if not REFERENCE:

    include: "workflow/rules/fetch.smk"
    include: "workflow/rules/scan.smk"
    include: "workflow/rules/finetune.smk"
    include: "workflow/rules/trim.smk"
    include: "workflow/rules/drop_at_once.smk"
    include: "workflow/rules/compress.smk"
    include: "workflow/rules/evaluate.smk"
    include: "workflow/rules/benchmark.smk"


include: "workflow/rules/paper.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"


rule tables:
    input:
        rules.table2.output,
        rules.table3.output,
        rules.table4.output,
        rules.table5.output,
        rules.table6.output,
        rules.table8.output,
        rules.table9.output,


rule all:
    default_target: True
    input:
        rules.tables.input,
        rules.table1.output,
        rules.table7.output,
        rendered_from(all_records()),
        all_figures(),
        rules.claims.output,
        rules.overview.output,


rule figures:
    input:
        all_figures(),


rule figure1:
    input:
        figures_named("figure1"),


rule figure2:
    input:
        figures_named("figure2"),


rule figure3:
    input:
        figures_named("figure3"),


rule figure4:
    input:
        figures_named("figure4"),


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
    engine_environment,
    record,
    table1,
    table2,
    table3,
    table4,
    table5,
    table6,
    table7,
    table8,
    table9,
    tables,
    figures,
    figure1,
    figure2,
    figure3,
    figure4,
    draw_figure1,
    draw_figure2,
    draw_figure3,
    draw_figure4,
    claims,
    overview,


onstart:
    refuse_while_at_work()
    refuse_changed_reference()
    refuse_past_the_end()
    refuse_too_large()
    refuse_too_small_gpus()
    refuse_too_large_shapes()
    refuse_unnamed_hardware()
    refuse_benchmarks()
    start_jobs_at_once()


onsuccess:
    print_summary(failed=False)


onerror:
    print_summary(failed=True)
