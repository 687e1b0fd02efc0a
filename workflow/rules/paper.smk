# The paper's tables, from the evaluations and the measurements of throughput.


rule table1:
    input:
        benchmarks=timing_files(),
    output:
        multiext("<results>/tables/table1", ".csv", ".md", ".tex"),
        report("<results>/tables/table1.txt", caption="../report/table1.rst", category="4. Tables"),
    log:
        "logs/table1.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        build={
            "models": model_rows(main_models()),
            "kept_percent": sorted({*TRIM["kept_percent"], *BENCH["kept_percent"]}, reverse=True),
            "composed": BENCH["composed"],
            "first": [*TRIM["criteria"], *BENCH["patterns"]],
        },
        code=CODE["table2"],
    message:
        "render Table 1"
    script:
        "../scripts/table.py"


rule table7:
    input:
        evals=rendered_from(with_replicates(composed_evaluations())),
        benchmarks=timing_files(),
    output:
        multiext("<results>/tables/table7", ".csv", ".md", ".tex"),
        report("<results>/tables/table7.txt", caption="../report/table7.rst", category="4. Tables"),
    log:
        "logs/table7.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        build={
            "models": model_rows(main_models()),
            "domains": [column_of(domain) for domain in DOMAINS],
            "kept_percent": TRIM["kept_percent"][0],
            "first": [*TRIM["criteria"], *BENCH["patterns"]],
            "ratio": TRIM["ratio"],
            "drops_per_epoch": TRIM["drops_per_epoch"],
            "seed": config["seed"],
        },
        code=CODE["table2"],
    message:
        "render Table 7"
    script:
        "../scripts/table.py"


rule table2:
    input:
        # not read: a run that renders the table leaves the records of its chains, too
        rendered_from(all_records()),
        evals=rendered_from(with_replicates(all_evaluations())),
    output:
        multiext("<results>/tables/table2", ".csv", ".md", ".tex"),
        report("<results>/tables/table2.txt", caption="../report/table2.rst", category="4. Tables"),
    log:
        "logs/table2.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        build={
            "models": model_rows(main_models()),
            "domains": [column_of(domain) for domain in DOMAINS],
            "criteria": TRIM["criteria"],
            "kept_percent": TRIM["kept_percent"],
            "ratio": TRIM["ratio"],
            "drops_per_epoch": TRIM["drops_per_epoch"],
            "seed": config["seed"],
        },
        code=CODE["table2"],
    message:
        "render Table 2"
    script:
        "../scripts/table.py"
