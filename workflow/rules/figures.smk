# The paper's figures, the check of its claims, and a page that shows everything in order. All of it
# is rendered in seconds, from what was measured here or from kept results (results/reference).


rule draw_figure1:
    input:
        evaluations=of_model(figure_evaluations()),
        source=paper_sources("figures/figure1", "figures/panels", "figures/style"),
    output:
        pdf="<figures>/figure1_{model}.pdf",
        png=report(
            "<figures>/figure1_{model}.png",
            caption="../report/figure1.rst",
            category="2. Figures",
            labels={"figure": "1: accuracy by units dropped", "model": "{model}"},
        ),
    log:
        "logs/figure1/{model}.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        model=lambda wildcards: model_row(wildcards.model),
        inputs=["evaluations"],
        shared=figure_params(),
    message:
        "draw Figure 1 for {wildcards.model}"
    script:
        "../scripts/figure.py"


use rule draw_figure1 as draw_figure2 with:
    input:
        evaluations=of_model(figure_evaluations()),
        timings=timing_files(),
        source=paper_sources("figures/figure2", "figures/panels", "figures/style", "timings"),
    output:
        pdf="<figures>/figure2_{model}.pdf",
        png=report(
            "<figures>/figure2_{model}.png",
            caption="../report/figure2.rst",
            category="2. Figures",
            labels={"figure": "2: memory and latency", "model": "{model}"},
        ),
    log:
        "logs/figure2/{model}.log",
    params:
        model=lambda wildcards: model_row(wildcards.model),
        inputs=["evaluations", "timings"],
        shared=figure_params(),
    message:
        "draw Figure 2 for {wildcards.model}"


use rule draw_figure1 as draw_figure3 with:
    input:
        records=of_model([*all_records(), *compat_records()]),
        source=paper_sources("figures/figure3", "figures/panels", "figures/style"),
    output:
        pdf="<figures>/figure3_{model}.pdf",
        png=report(
            "<figures>/figure3_{model}.png",
            caption="../report/figure3.rst",
            category="2. Figures",
            labels={"figure": "3: which units go", "model": "{model}"},
        ),
    log:
        "logs/figure3/{model}.log",
    params:
        model=lambda wildcards: model_row(wildcards.model),
        inputs=["records"],
        shared=figure_params(*COMPAT),
    message:
        "draw Figure 3 for {wildcards.model}"


use rule draw_figure1 as draw_figure4 with:
    input:
        records=of_model(all_records()),
        trainings=of_model(training_records()),
        source=paper_sources("figures/figure4", "figures/style", "cost"),
    output:
        pdf="<figures>/figure4_{model}.pdf",
        png=report(
            "<figures>/figure4_{model}.png",
            caption="../report/figure4.rst",
            category="2. Figures",
            labels={"figure": "4: cost of training", "model": "{model}"},
        ),
    log:
        "logs/figure4/{model}.log",
    params:
        model=lambda wildcards: model_row(wildcards.model),
        inputs=["records", "trainings"],
        shared=figure_params(),
    message:
        "draw Figure 4 for {wildcards.model}"


rule claims:
    input:
        evaluations=rendered_from(claim_evaluations()),
        records=rendered_from(all_records()),
        trainings=rendered_from(training_records()),
        timings=timing_files(),
        source=paper_sources(
            "claims/claims",
            "claims/claim_checks",
            "claims/claim_speed",
            "claims/evidence",
            "cost",
            "timings",
        ),
    output:
        md=report("<figures>/claims.md", caption="../report/claims.rst", category="3. Claims"),
        json="<figures>/claims.json",
    log:
        "logs/claims.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        models=model_rows(main_models()),
        shared=figure_params(),
    message:
        "check the claims of the paper"
    script:
        "../scripts/claims.py"


rule overview:
    input:
        evaluations=rendered_from(claim_evaluations()),
        claims="<figures>/claims.md",
        figures=all_figures(),
        tables=all_tables(),
        captions=list(captions().values()),
        source=paper_sources("overview", "tables/notes"),
    output:
        report(
            "<figures>/overview.html",
            caption="../report/overview.rst",
            category="1. Read this first",
        ),
    log:
        "logs/overview.log",
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    message:
        "put claims, figures and tables on one page"
    script:
        "../scripts/overview.py"
