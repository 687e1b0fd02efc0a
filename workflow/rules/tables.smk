# The paper's tables. What each is made from, and its rows and columns, is in trimllm_paper/layout.yaml.

from trimllm_paper import layout


rule render_table:
    input:
        unpack(or_refuse(lambda wildcards: TARGETS.inputs(TARGETS.table(wildcards.table)))),
    output:
        csv=PATHS.table("{table}", ".csv"),
        md=report(PATHS.table("{table}"), caption="../report/tables.rst", category="3. Tables"),
        tex=PATHS.table("{table}", ".tex"),
    log:
        log("{table}"),
    wildcard_constraints:
        table=one_of(layout.tables()),
    localrule: True
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        files=lambda wildcards: TARGETS.table(wildcards.table),
        context=TARGETS.context(),
        code=lambda wildcards: code_hash("table"),
    message:
        "render {wildcards.table}"
    script:
        "../scripts/table.py"


rule table1:
    input:
        PATHS.table("table1"),
    localrule: True


rule table2:
    input:
        PATHS.table("table2"),
    localrule: True


rule table3:
    input:
        PATHS.table("table3"),
    localrule: True


rule table4:
    input:
        PATHS.table("table4"),
    localrule: True


rule table5:
    input:
        PATHS.table("table5"),
    localrule: True


rule table6:
    input:
        PATHS.table("table6"),
    localrule: True


rule table7:
    input:
        PATHS.table("table7"),
    localrule: True


rule table8:
    input:
        PATHS.table("table8"),
    localrule: True


rule table9:
    input:
        PATHS.table("table9"),
    localrule: True


# Not among `tables`: it asks for exports, and for engines that are not installed everywhere.
rule table_engines:
    input:
        PATHS.table("table_engines"),
    localrule: True


# Not among `tables`: it has a configuration of its own, config/overlays/ablation.yaml.
rule table_a1:
    input:
        PATHS.table("table_a1"),
    localrule: True
