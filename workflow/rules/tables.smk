# Tables 3 to 6, 8 and 9. Their inputs are in common_tables.smk; each is built by the module of its name
# in trimllm_paper.tables, whose arguments are the rule's inputs and params.


rule table3:
    input:
        evals=rendered_from(recipe_evaluations(table3_recipes)),
    output:
        multiext("<results>/tables/table3", ".csv", ".md", ".tex"),
        report("<results>/tables/table3.txt", caption="../report/table3.rst", category="4. Tables"),
    log:
        "logs/table3.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        build={
            "models": model_rows(TABLE_MODELS),
            "domains": [column_of(domain) for domain in TABLE_DOMAINS],
            "criteria": [*TABLES["criteria"], *COMPAT],
            "rules": TABLES["rules"],
            "seed": config["seed"],
            **chain_options(),
        },
        code=CODE["table2"],
    message:
        "render {rule}"
    script:
        "../scripts/table.py"


use rule table3 as table4 with:
    input:
        evals=rendered_from(cross_evaluations(TABLES["near"], near_domains())),
    output:
        multiext("<results>/tables/table4", ".csv", ".md", ".tex"),
        report("<results>/tables/table4.txt", caption="../report/table4.rst", category="4. Tables"),
    log:
        "logs/table4.log",
    params:
        build={
            "models": model_rows(TABLE_MODELS),
            "domains": [column_of(domain) for domain in near_domains()],
            "criteria": TRIM["criteria"],
            "kept_percent": cross_percent(),
            "near": TABLES["near"],
            "seed": config["seed"],
            **chain_options(),
        },
        code=CODE["table2"],


use rule table3 as table5 with:
    input:
        evals=rendered_from(cross_evaluations(DOMAINS, DOMAINS)),
    output:
        multiext("<results>/tables/table5", ".csv", ".md", ".tex"),
        report("<results>/tables/table5.txt", caption="../report/table5.rst", category="4. Tables"),
    log:
        "logs/table5.log",
    params:
        build={
            "models": model_rows(TABLE_MODELS),
            "domains": [column_of(domain) for domain in DOMAINS],
            "criteria": TRIM["criteria"],
            "kept_percent": cross_percent(),
            "seed": config["seed"],
            **chain_options(),
        },
        code=CODE["table2"],


use rule table3 as table6 with:
    input:
        evals=rendered_from(recipe_evaluations(table6_recipes)),
    output:
        multiext("<results>/tables/table6", ".csv", ".md", ".tex"),
        report("<results>/tables/table6.txt", caption="../report/table6.rst", category="4. Tables"),
    log:
        "logs/table6.log",
    params:
        build={
            "models": model_rows(TABLE_MODELS),
            "domains": [column_of(domain) for domain in TABLE_DOMAINS],
            "criteria": TABLES["criteria"],
            "ratios": TABLES["ratios"],
            "drops_per_epoch": TRIM["drops_per_epoch"],
            "seed": config["seed"],
        },
        code=CODE["table2"],


use rule table3 as table8 with:
    input:
        evals=rendered_from(opt_evaluations()),
    output:
        multiext("<results>/tables/table8", ".csv", ".md", ".tex"),
        report("<results>/tables/table8.txt", caption="../report/table8.rst", category="4. Tables"),
    log:
        "logs/table8.log",
    params:
        build={
            "models": model_rows(opt_models()),
            "domains": [column_of(d) for m in opt_models()[:1] for d in domains_of(m)],
            "criteria": TRIM["criteria"],
            "kept_percent": TRIM["kept_percent"],
            "seed": config["seed"],
            **chain_options(),
        },
        code=CODE["table2"],


use rule table3 as table9 with:
    input:
        trainings=rendered_from(timed_trainings()),
        chains=rendered_from(timed_chains()),
        manifests=rendered_from(timed_manifests()),
    output:
        multiext("<results>/tables/table9", ".csv", ".md", ".tex"),
        report("<results>/tables/table9.txt", caption="../report/table9.rst", category="4. Tables"),
    log:
        "logs/table9.log",
    params:
        build={
            "models": model_rows(TABLE_MODELS),
            "domain": column_of(timed_domain()),
            "runs": {criterion: run_name(criterion) for criterion in TRIM["criteria"]},
            "ratio": TRIM["ratio"],
            "seed": config["seed"],
        },
        code=CODE["table2"],
