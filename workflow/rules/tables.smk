# The paper's tables. Their rows and columns are in trimllm_paper/tables.py.


rule render_table:
    input:
        unpack(or_refuse(lambda wildcards: TARGETS.inputs(TARGETS.table(wildcards.table)))),
    output:
        csv=PATHS.table("{table}", ".csv"),
        md=report(PATHS.table("{table}"), caption="../report/tables.rst", category="3. Tables"),
        tex=PATHS.table("{table}", ".tex"),
    log:
        "logs/{table}.log",
    localrule: True
    params:
        files=lambda wildcards: TARGETS.table(wildcards.table),
        context=TARGETS.context(),
        code=lambda wildcards: code_hash("table"),
    message:
        "render {wildcards.table}"
    script:
        "../scripts/table.py"
