# Targets by name; each table has its own (rules/tables.smk).

from trimllm_paper.figures import FIGURES

NAMED = {
    "tables": [PATHS.table(f"table{number}") for number in (2, 3, 4, 5, 6, 8, 9)],
    "figures": TARGETS.figures(),
    **{figure: TARGETS.figures(figure) for figure in FIGURES},
    "readme": f"{TARGETS.figures_folder}/readme_{CONFIG.domains[0]}.png",
    "data": [PATHS.data(domain) for domain in CONFIG.domains],
    "checkpoints": TARGETS.all_checkpoints(),
    "exports": TARGETS.all_exports(),
    "evaluations": TARGETS.answers(["table2"]),
    "throughput": TARGETS.timings(),
}


rule all:
    default_target: True
    input:
        NAMED["tables"],
        [PATHS.table(f"table{number}") for number in (1, 7)],
        NAMED["figures"],
        rules.claims.output,
    localrule: True


for target, files in NAMED.items():

    rule:
        name:
            target
        input:
            files,
        localrule: True
