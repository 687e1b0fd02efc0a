# What a person asks for by name.


rule tables:
    input:
        [PATHS.table(f"table{number}") for number in (2, 3, 4, 5, 6, 8, 9)],
    localrule: True


rule all:
    default_target: True
    input:
        rules.tables.input,
        [PATHS.table(f"table{number}") for number in (1, 7)],
        TARGETS.figures(),
        rules.claims.output,
    localrule: True


rule figures:
    input:
        TARGETS.figures(),
    localrule: True


rule figure1:
    input:
        TARGETS.figures("figure1"),
    localrule: True


rule figure2:
    input:
        TARGETS.figures("figure2"),
    localrule: True


rule figure3:
    input:
        TARGETS.figures("figure3"),
    localrule: True


rule figure4:
    input:
        TARGETS.figures("figure4"),
    localrule: True


rule readme:
    input:
        f"{TARGETS.figures_folder}/readme_{[*CONFIG.domain_specs][0]}.png",
    localrule: True


rule data:
    input:
        TARGETS.all_data(),
    localrule: True


rule checkpoints:
    input:
        TARGETS.all_checkpoints(),
    localrule: True


rule exports:
    input:
        TARGETS.all_exports(),
    localrule: True


rule evaluations:
    input:
        TARGETS.answers(["table2"]),
    localrule: True


rule throughput:
    input:
        TARGETS.timings(),
    localrule: True
