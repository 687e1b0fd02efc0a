# The paper's tables. Their rows and columns are in trimllm_paper/tables.py.

from trimllm_paper.tables import TABLES


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
        table=one_of(TABLES),
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


# table1 to table9, table_engines, table_a1
for key in TABLES:

    rule:
        name:
            key
        input:
            PATHS.table(key),
        localrule: True
