# Targets by name.

NAMED = {
    **{table: PATHS.table(table) for table in TABLES},
    "tables": [PATHS.table(f"table{number}") for number in (2, 3, 4, 5, 6, 8, 9)],
    "figures": TARGETS.figures(),
    **{figure: TARGETS.figures(figure) for figure in FIGURES},
    "readme": f"{TARGETS.figures_folder}/readme_{CONFIG.domains[0]}.png",
    "data": [PATHS.data(domain) for domain in CONFIG.domains],
    "exports": TARGETS.all_exports(),
    "evaluations": TARGETS.answers(["table2"]),
    "throughput": TARGETS.timings(),
    "own": or_refuse(lambda wildcards: TARGETS.own()),
}


rule all:
    default_target: True
    input:
        [NAMED[name] for name in ("tables", "table1", "table7", "figures")],
        rules.claims.output,
    localrule: True


for target, files in NAMED.items():

    rule:
        name:
            target
        input:
            files,
        localrule: True
