# What a person asks for by name.


rule tables:
    input:
        [PATHS.table(f"table{number}") for number in (2, 3, 4, 5, 6, 8, 9)],


rule all:
    default_target: True
    input:
        rules.tables.input,
        [PATHS.table(f"table{number}") for number in (1, 7)],
        TARGETS.all_figures(),
        rules.claims.output,


rule figures:
    input:
        TARGETS.all_figures(),


rule figure1:
    input:
        TARGETS.figures_named("figure1"),


rule figure2:
    input:
        TARGETS.figures_named("figure2"),


rule figure3:
    input:
        TARGETS.figures_named("figure3"),


rule figure4:
    input:
        TARGETS.figures_named("figure4"),


rule data:
    input:
        TARGETS.all_data(),


rule checkpoints:
    input:
        TARGETS.all_checkpoints(),


rule evaluations:
    input:
        TARGETS.table("table2")["evaluations"],


rule throughput:
    input:
        TARGETS.timings(),


localrules:
    all,
    data,
    checkpoints,
    evaluations,
    throughput,
    tables,
    table1,
    table2,
    table3,
    table4,
    table5,
    table6,
    table7,
    table8,
    table9,
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
