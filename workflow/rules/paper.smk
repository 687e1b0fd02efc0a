# The paper's tables, from the evaluations and the measurements of throughput.


rule table1:
    input:
        benchmarks=[*benchmark_files(), *benchmarks_of_other_machines()],
    output:
        multiext("<results>/tables/table1", ".csv", ".md", ".tex", ".txt"),
    log:
        "logs/table1.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        models=model_rows(),
        kept_percent=sorted({*TRIM["kept_percent"], *BENCH["kept_percent"]}, reverse=True),
        composed=BENCH["composed"],
        first=[*TRIM["criteria"], *BENCH["patterns"]],
        code=CODE["table2"],
    message:
        "render Table 1"
    script:
        "../scripts/table1.py"


rule table7:
    input:
        evaluations=composed_evaluations(),
        benchmarks=[*benchmark_files(), *benchmarks_of_other_machines()],
    output:
        multiext("<results>/tables/table7", ".csv", ".md", ".tex", ".txt"),
    log:
        "logs/table7.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        models=model_rows(),
        domains=[column_of(domain) for domain in DOMAINS],
        kept_percent=TRIM["kept_percent"][0],
        first=[*TRIM["criteria"], *BENCH["patterns"]],
        ratio=TRIM["ratio"],
        drops_per_epoch=TRIM["drops_per_epoch"],
        seed=config["seed"],
        code=CODE["table2"],
    message:
        "render Table 7"
    script:
        "../scripts/table7.py"


rule table2:
    input:
        evaluations=all_evaluations(),
        records=all_records(),
    output:
        multiext("<results>/tables/table2", ".csv", ".md", ".tex", ".txt"),
    log:
        "logs/table2.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        models=model_rows(),
        domains=[column_of(domain) for domain in DOMAINS],
        criteria=TRIM["criteria"],
        kept_percent=TRIM["kept_percent"],
        ratio=TRIM["ratio"],
        drops_per_epoch=TRIM["drops_per_epoch"],
        seed=config["seed"],
        code=CODE["table2"],
    message:
        "render Table 2"
    script:
        "../scripts/table2.py"


rule accuracy_by_kept:
    input:
        evaluations=all_evaluations(),
        style=ROOT / "src" / "trimllm" / "paper" / "style.py",
    output:
        multiext("<figures>/accuracy_by_kept_{model}", ".pdf", ".png"),
    log:
        "logs/accuracy_by_kept/{model}.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        model=lambda wildcards: {
            "name": wildcards.model,
            "label": MODELS[wildcards.model]["label"],
        },
        domains=[column_of(domain) for domain in DOMAINS],
        criteria=TRIM["criteria"],
        kept_percent=TRIM["kept_percent"],
        ratio=TRIM["ratio"],
        drops_per_epoch=TRIM["drops_per_epoch"],
        code=CODE["table2"],
    message:
        "draw accuracy against units kept for {wildcards.model}"
    script:
        "../scripts/accuracy_by_kept.py"
