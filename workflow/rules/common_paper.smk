# What the rules of the paper's figures, claims and report ask.


def rendered_from(files):
    """Input: results, of kept ones those that were kept (what is absent is said in the artifact)."""
    if not REFERENCE:
        return list(files)
    return [file for file in files if os.path.exists(file.replace("<results>", RESULTS))]


def paper_sources(*modules):
    """Input: modules of the paper room, so that a changed plot is drawn again and nothing else."""
    folder = ROOT / "src" / "trimllm" / "paper"
    shared = ("measured", "chains", "tier", "published", "verdict")
    files = [folder / f"{name}.py" for name in (*shared, *modules)]
    return [str(file) for file in (*files, folder / "published.yaml")]


def training_records():
    """The record of every full and sparse fine-tuning."""
    return [
        f"<results>/models/{model}/{domain}/{recipe}/training.json"
        for model in main_models()
        for domain in DOMAINS
        for recipe in ("full_ft", "sparse_ft")
    ]


def figure_evaluations():
    """Evaluations that Figures 1 and 2 are drawn from: Table 2's and Table 7's, and where Table 3 has
    the chains evaluated after every epoch, these."""
    chains = [
        file
        for model in main_models()
        for domain in TABLE_DOMAINS
        if model in TABLE_MODELS
        for recipe in chains_of(model, TRIM["criteria"], [TRIM["ratio"]])
        for file in evaluated(model, domain, recipe, domain)
    ]
    return list(dict.fromkeys([*all_evaluations(), *composed_evaluations(), *chains]))


def claim_evaluations():
    """Evaluations that the claims are about: those of all tables."""
    tables = [recipe_evaluations(recipes) for recipes in (table3_recipes, table6_recipes)]
    tables += [
        cross_evaluations(TABLES["near"], near_domains()),
        cross_evaluations(DOMAINS, DOMAINS),
    ]
    own = [file for files in tables for file in files if file.startswith("<results>")]
    return list(dict.fromkeys([*figure_evaluations(), *own]))


def timing_files():
    """Measurements of throughput, of this machine and of others."""
    return [*rendered_from(benchmark_files()), *benchmarks_of_other_machines()]


def of_model(files):
    """Input function: those of the files that belong to the wildcard {model}."""
    return lambda wildcards: [
        file for file in rendered_from(files) if f"/{wildcards.model}/" in file
    ]


def model_row(name):
    """A model as figures know it."""
    return next(row for row in model_rows() if row["name"] == name)


def figure_params(*more):
    """Parameters that all figures share; `more` criteria than those of the main tables."""
    return {
        "domains": [column_of(domain) for domain in DOMAINS],
        "criteria": [*TRIM["criteria"], *more],
        "ratio": TRIM["ratio"],
        "drops_per_epoch": TRIM["drops_per_epoch"],
    }


def figures_named(name):
    """One figure of the paper, of every model."""
    return [f"<figures>/{name}_{model}.png" for model in main_models()]


FIGURES = ("figure1", "figure2", "figure3", "figure4")


def all_figures():
    """Every figure."""
    return [file for name in FIGURES for file in figures_named(name)]


def all_tables():
    """Every table, in its Markdown form."""
    return [f"<results>/tables/table{number}.md" for number in range(1, 10)]


def captions():
    """The captions of the report: they stand in the overview, too."""
    return {path.stem: str(path) for path in sorted((ROOT / "workflow" / "report").glob("*.rst"))}


def refuse_changed_reference():
    """End with one line if a kept result was changed by hand."""
    if REFERENCE:
        try:
            reference.verify(RESULTS)
        except settings.UserError as error:
            sys.exit(f"error: {error}")
