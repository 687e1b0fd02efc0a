# What Tables 3 to 6, 8 and 9 are made from: which recipes, evaluated on what. A recipe that several
# tables show is trained and evaluated once, for its path says all that it depends on.


def main_models():
    """Models of the main tables; OPT has a table of its own."""
    return [name for name, model in MODELS.items() if model["family"] != "opt"]


def domains_of(model):
    """Domains that a model is specialized on: for OPT, those of Table 8."""
    wanted = ("sciq", "medmcqa", "lexglue") if MODELS[model]["family"] == "opt" else DOMAINS
    return [domain for domain in DOMAINS if domain in wanted]


def trained_files(name):
    """What a domain is trained and calibrated on; nothing where it is tested on only."""
    splits = ("train", "calibration") if name in DOMAINS else ()
    return {split: f"<results>/data/{name}/{split}.jsonl" for split in splits}


def domain_spec(name):
    """A domain as it is prepared; what plans expect of it changes nothing."""
    return {key: value for key, value in TESTED[name].items() if key != "expected"}


TABLES = config["tables"]
TABLE_MODELS = TABLES["models"] or main_models()
TABLE_DOMAINS = TABLES["domains"] or list(DOMAINS)
# What the authors' code did is one more criterion: it has chains, files and rows of its own.
COMPAT = ["authors"] if config["compat"] == "authors" else []


def with_replicates(files):
    """The same files of the runs under other seeds, too."""
    files = list(dict.fromkeys(files))
    roots = ["<results>", *map(os.path.normpath, config["replicates"])]
    return [file.replace("<results>", root) for root in roots for file in files]


def evaluated(model, trained, recipe, tested):
    """Evaluations of a recipe trained on one domain on the tests of another, or of its own."""
    folder = f"<results>/eval/{model}/{trained}/{recipe}"
    return [f"{folder}/{task}.json" for task in TESTED[tested]["tests"]]


def epoch_names(model):
    """`drop_00`, ... as far as Tables 3 and 6 look for the smallest checkpoint."""
    step = TRIM["drops_per_epoch"]
    wanted = TABLES["smallest_percent"] or names.RULE_KEPT
    last = settings.drops_for(wanted, units(model), step) or kept_drops(model)[-1]
    return drop_names(model)[: last // step + 1]


def chains_of(model, criteria, ratios):
    """Every checkpoint of the chains by some criteria and ratios."""
    runs = [run_name(criterion, ratio) for ratio in ratios for criterion in criteria]
    return [f"{run}/{name}" for run in runs for name in epoch_names(model)]


def rule_drops(model):
    """Units that random, top and bottom drop: those of half of the blocks."""
    return units(model) // 2


def rule_recipes(model):
    """Random, top and bottom at once. An odd number of blocks has no half: nothing is run then."""
    if MODELS[model]["blocks"] % 2:
        return []
    drops = rule_drops(model)
    name = settings.padded(drops, units(model))
    return [f"trim_{by}_r{TRIM['ratio']:g}_d{drops}/drop_{name}" for by in TABLES["rules"]]


def rule_epochs(wildcards):
    """Passes that a chain takes to as many drops: random, top and bottom are trained as long."""
    return 1 + -(-int(wildcards.drops) // TRIM["drops_per_epoch"])


def recipe_evaluations(recipes):
    """Evaluations of recipes of a model on the domain that each was trained on."""
    return with_replicates(
        file
        for model in TABLE_MODELS
        for domain in TABLE_DOMAINS
        for recipe in recipes(model)
        for file in evaluated(model, domain, recipe, domain)
    )


def table3_recipes(model):
    """Baselines, criteria and rules at one ratio."""
    chains = chains_of(model, [*TABLES["criteria"], *COMPAT], [TRIM["ratio"]])
    return ["pretrained", "full_ft", "sparse_ft", *chains, *rule_recipes(model)]


def table6_recipes(model):
    """Criteria at every ratio, and what they are compared with."""
    return ["pretrained", "full_ft", *chains_of(model, TABLES["criteria"], TABLES["ratios"])]


def cross_percent():
    """Units kept by the specialized models: what is asked for, the paper's 40%, or the fewest."""
    kept = TRIM["kept_percent"]
    return TABLES["cross_percent"] or (40 if 40 in kept else min(kept))


def cross_evaluations(trained_on, tested_on):
    """Specialized models on other domains, and the pretrained model on the same."""
    files = []
    for model in TABLE_MODELS:
        step = TRIM["drops_per_epoch"]
        drops = settings.drops_for(cross_percent(), units(model), step)
        name = f"drop_{settings.padded(drops, units(model))}"
        for tested in tested_on:
            files += evaluated(model, tested, "pretrained", tested)
            for criterion in TRIM["criteria"]:
                for trained in trained_on:
                    files += evaluated(model, trained, f"{run_name(criterion)}/{name}", tested)
    return with_replicates(files)


def near_domains():
    """The domains that have a near domain, and these."""
    return [name for pair in TABLES["near"].items() for name in pair]


def opt_models():
    """Models of Table 8."""
    return [name for name, model in MODELS.items() if model["family"] == "opt"]


def opt_evaluations():
    """Evaluations of OPT models."""
    return with_replicates(
        file
        for model in opt_models()
        for domain in domains_of(model)
        for file in evaluation_files(model, domain)
    )


def timed_domain():
    """The domain whose training is timed: the paper's, or the first one."""
    return "sciq" if "sciq" in TABLE_DOMAINS else TABLE_DOMAINS[0]


def timed_trainings():
    """Records of full and sparse fine-tuning."""
    return with_replicates(
        f"<results>/models/{model}/{timed_domain()}/{recipe}/training.json"
        for model in TABLE_MODELS
        for recipe in ("full_ft", "sparse_ft")
    )


def timed_chains():
    """Records of the chains' epochs."""
    return with_replicates(
        f"<results>/records/{model}/{timed_domain()}/{run_name(criterion)}.jsonl"
        for model in TABLE_MODELS
        for criterion in TRIM["criteria"]
    )


def timed_manifests():
    """Manifests of what was timed, a chain's of the checkpoints that it keeps: they say when it was
    trained, on what machine and by what code, which the records do not."""
    return with_replicates(
        f"<results>/models/{model}/{timed_domain()}/{recipe}/manifest.json"
        for model in TABLE_MODELS
        for recipe in trained_recipes(model)
    )


def chain_options():
    """What names the chains of this configuration among all results."""
    return {"ratio": TRIM["ratio"], "drops_per_epoch": TRIM["drops_per_epoch"]}


# ---- all of a kind -----------------------------------------------------------------------------


def all_data():
    """Every prepared domain."""
    return [f"<results>/data/{domain}/report.json" for domain in DOMAINS]


def all_checkpoints():
    """Every checkpoint that is evaluated."""
    pretrained = [f"<results>/models/{model}/base/pretrained/manifest.json" for model in MODELS]
    return pretrained + [
        f"<results>/models/{model}/{domain}/{recipe}/manifest.json"
        for model in MODELS
        for domain in domains_of(model)
        for recipe in evaluated_recipes(model)
    ]


def all_records():
    """The per-epoch records of every chain."""
    return [
        f"<results>/records/{model}/{domain}/{run_name(criterion)}.jsonl"
        for model in main_models()
        for domain in DOMAINS
        for criterion in TRIM["criteria"]
    ]


def all_evaluations():
    """Every evaluation that Table 2 is made from, of one seed."""
    return [
        file
        for model in main_models()
        for domain in DOMAINS
        for file in evaluation_files(model, domain)
    ]


# ---- compat: authors ---------------------------------------------------------------------------


def compat_records():
    """The records of what the authors' code did, for Figure 3: Table 3's chains to their ends."""
    return [
        f"<results>/records/{model}/{domain}/{run_name(criterion)}.jsonl"
        for model in TABLE_MODELS
        for domain in TABLE_DOMAINS
        for criterion in COMPAT
    ]


def calibration_file(wildcards):
    """Input: what a chain scans on. The authors' code scans on documents that it reports on."""
    if wildcards.criterion == names.AUTHORS:
        return test_files(wildcards.domain)[0]
    return f"<results>/data/{wildcards.domain}/calibration.jsonl"


def scanned_documents(wildcards):
    """How many of them, where not all."""
    return settings.AUTHORS_DOCUMENTS if wildcards.criterion == names.AUTHORS else None
