# The paper's figures and the check of its claims, rendered in seconds from what was measured here or
# from kept results (results/reference).


def drawn(figure, title):
    """The forms of a figure; the picture stands in the report."""
    labels = {"figure": f"{figure[-1]}: {title}", "model": "{model}"}
    shown = {"caption": f"../report/{figure}.rst", "category": "2. Figures", "labels": labels}
    stem = f"{TARGETS.figures_folder}/{figure}_{{model}}"
    return {"pdf": f"{stem}.pdf", "png": report(f"{stem}.png", **shown)}


rule draw_figure1:
    input:
        unpack(lambda wildcards: TARGETS.inputs(TARGETS.figure("figure1", wildcards.model))),
    output:
        **drawn("figure1", "accuracy by units dropped"),
    log:
        log("figure1", "{model}"),
    localrule: True
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        context=lambda wildcards: TARGETS.figure_context(wildcards.model),
        files=lambda wildcards: TARGETS.figure("figure1", wildcards.model),
        code=lambda wildcards: code_hash("figure1"),
    message:
        "{rule} for {wildcards.model}"
    script:
        "../scripts/figure.py"


use rule draw_figure1 as draw_figure2 with:
    input:
        unpack(lambda wildcards: TARGETS.inputs(TARGETS.figure("figure2", wildcards.model))),
    output:
        **drawn("figure2", "memory and latency"),
    log:
        log("figure2", "{model}"),
    params:
        files=lambda wildcards: TARGETS.figure("figure2", wildcards.model),
        code=lambda wildcards: code_hash("figure2"),


use rule draw_figure1 as draw_figure3 with:
    input:
        unpack(lambda wildcards: TARGETS.inputs(TARGETS.figure("figure3", wildcards.model))),
    output:
        **drawn("figure3", "which units go"),
    log:
        log("figure3", "{model}"),
    params:
        files=lambda wildcards: TARGETS.figure("figure3", wildcards.model),
        code=lambda wildcards: code_hash("figure3"),


use rule draw_figure1 as draw_figure4 with:
    input:
        unpack(lambda wildcards: TARGETS.inputs(TARGETS.figure("figure4", wildcards.model))),
    output:
        **drawn("figure4", "cost of training"),
    log:
        log("figure4", "{model}"),
    params:
        files=lambda wildcards: TARGETS.figure("figure4", wildcards.model),
        code=lambda wildcards: code_hash("figure4"),


rule claims:
    input:
        **TARGETS.inputs(TARGETS.claims()),
    output:
        md=report(
            f"{TARGETS.figures_folder}/claims.md",
            caption="../report/claims.rst",
            category="1. Claims",
        ),
        csv=f"{TARGETS.figures_folder}/claims.csv",
        contradictions=report(
            f"{TARGETS.figures_folder}/contradictions.md",
            caption="../report/contradictions.rst",
            category="1. Claims",
        ),
    log:
        log("claims"),
    localrule: True
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        files=TARGETS.claims(),
        contexts=[TARGETS.figure_context(model) for model in TARGETS.main_models],
        code=lambda wildcards: code_hash("claims"),
    message:
        "check the claims of the paper"
    script:
        "../scripts/claims.py"
