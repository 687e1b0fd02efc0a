# The paper's figures and the check of its claims, rendered in seconds from what was measured here or
# from kept results (results/reference).

FOLDER = TARGETS.figures_folder
FIGURE, README_FIGURE = f"{FOLDER}/{{figure}}_{{model}}", f"{FOLDER}/readme_{{domain}}"


rule draw_figure:
    input:
        unpack(or_refuse(lambda wildcards: TARGETS.inputs(TARGETS.figure(**wildcards)))),
    output:
        pdf=f"{FIGURE}.pdf",
        png=report(
            f"{FIGURE}.png",
            caption="../report/figures.rst",
            category="2. Figures",
            labels={"figure": "{figure}", "model": "{model}"},
        ),
    log:
        "logs/{figure}/{model}.log",
    localrule: True
    params:
        context=lambda wildcards: TARGETS.context(wildcards.model),
        files=lambda wildcards: TARGETS.figure(**wildcards),
        code=lambda wildcards: code_hash("figure"),
    message:
        "draw {wildcards.figure} of {wildcards.model}"
    script:
        "../scripts/figure.py"


# Accuracy against bytes on one domain: `snakemake readme --configfile results/reference_real/config.yaml`.
use rule draw_figure as draw_readme with:
    input:
        unpack(lambda wildcards: TARGETS.inputs(TARGETS.figure("readme", TARGETS.main_models[0]))),
    output:
        pdf=f"{README_FIGURE}.pdf",
        png=f"{README_FIGURE}.png",
    log:
        "logs/readme/{domain}.log",
    params:
        context=lambda wildcards: TARGETS.context(TARGETS.main_models[0]),
        files=lambda wildcards: TARGETS.figure("readme", TARGETS.main_models[0]),
    message:
        "draw the plot of README"


rule claims:
    input:
        **TARGETS.inputs(TARGETS.claims()),
    output:
        md=report(f"{FOLDER}/claims.md", caption="../report/claims.rst", category="1. Claims"),
        csv=f"{FOLDER}/claims.csv",
        contradictions=report(
            f"{FOLDER}/contradictions.md",
            caption="../report/contradictions.rst",
            category="1. Claims",
        ),
    log:
        "logs/claims.log",
    localrule: True
    params:
        files=TARGETS.claims(),
        contexts=[TARGETS.context(model) for model in TARGETS.main_models],
        code=lambda wildcards: code_hash("claims"),
    message:
        "check the claims of the paper"
    script:
        "../scripts/claims.py"
