# The paper's tables. What each is made from, and its rows and columns, is in trimllm_paper/layout.yaml.


rule table1:
    input:
        **TARGETS.table("table1"),
    output:
        **rendered("table1"),
    log:
        log("table1"),
    localrule: True
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        context=TARGETS.context(),
        code=lambda wildcards: code_hash("table"),
    message:
        "render {rule}"
    script:
        "../scripts/table.py"


use rule table1 as table2 with:
    input:
        **TARGETS.table("table2"),
    output:
        **rendered("table2"),
    log:
        log("table2"),


use rule table1 as table3 with:
    input:
        **TARGETS.table("table3"),
    output:
        **rendered("table3"),
    log:
        log("table3"),


use rule table1 as table4 with:
    input:
        **TARGETS.table("table4"),
    output:
        **rendered("table4"),
    log:
        log("table4"),


use rule table1 as table5 with:
    input:
        **TARGETS.table("table5"),
    output:
        **rendered("table5"),
    log:
        log("table5"),


use rule table1 as table6 with:
    input:
        **TARGETS.table("table6"),
    output:
        **rendered("table6"),
    log:
        log("table6"),


use rule table1 as table7 with:
    input:
        **TARGETS.table("table7"),
    output:
        **rendered("table7"),
    log:
        log("table7"),


use rule table1 as table8 with:
    input:
        **TARGETS.table("table8"),
    output:
        **rendered("table8"),
    log:
        log("table8"),


use rule table1 as table9 with:
    input:
        **TARGETS.table("table9"),
    output:
        **rendered("table9"),
    log:
        log("table9"),


# Not among `tables`: it asks for exports, and for engines that are not installed everywhere.
use rule table1 as table_engines with:
    input:
        **TARGETS.table("table_engines"),
    output:
        **rendered("table_engines"),
    log:
        log("table_engines"),


# Not among `tables`: it has a configuration of its own, config/overlays/ablation.yaml.
use rule table1 as table_a1 with:
    input:
        **TARGETS.table("table_a1"),
    output:
        **rendered("table_a1"),
    log:
        log("table_a1"),


# Tables of one's own, from the files of `tables.layouts`; each is asked for by its name.
for table in TARGETS.further_tables():

    rule:
        name:
            table
        input:
            **TARGETS.table(table),
        output:
            **{form: PATHS.table(table, f".{form}") for form in ("csv", "md", "tex", "txt")},
        log:
            log(table),
        localrule: True
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            context=TARGETS.context(),
            code=lambda wildcards: code_hash("table"),
        message:
            "render {rule}"
        script:
            "../scripts/table.py"
