"""What jobs read and depend on: all that changes a number, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from configurations import ROOT, configuration

from trimllm.base.errors import UserError
from trimllm.base.files import write_jsonl
from trimllm.data import read_documents
from trimllm.data.prepare import prepare
from trimllm.train.batching import documents_of_epoch
from trimllm_paper.config import Config, load, read_yaml
from trimllm_paper.integrity import codehash
from trimllm_paper.jobs import Jobs

MODEL, CHAIN = "smollm2-135m", {"model": "smollm2-135m", "domain": "sciq"}
TASK = "science_answers"
# A job of every kind that makes results.
EVERY: dict[str, tuple[str, dict[str, str]]] = {
    "fetch_model": ("fetch_model", {"model": MODEL}),
    "prepare": ("prepare", {"domain": "sciq"}),
    "scan": ("scan", CHAIN),
    "full_ft": ("full_ft", CHAIN),
    "sparse_ft": ("sparse_ft", CHAIN),
    "at_once": ("at_once", CHAIN | {"by": "bottom", "drop": "30"}),
    "epoch": ("epoch", CHAIN | {"name": "paper", "drop": "30"}),
    "settled": ("settled", CHAIN | {"name": "paper", "drop": "30"}),
    "teacher": ("teacher", CHAIN),
    "compression": ("compression", CHAIN | {"dense": "full_ft", "compressor": "gptq_int4"}),
    "evaluation": ("evaluation", CHAIN | {"recipe": "trim_paper/drop_30", "tested": "sciq"}),
    "timing": ("throughput", {"hardware": "here", "model": MODEL, "recipe": "full_ft"}),
    "shape": ("throughput", {"hardware": "here", "model": "random-llama-tiny", "recipe": "full"}),
    "engine": ("engines", {"hardware": "here", "model": MODEL, "engine": "transformers"}),
}
TRAINED = {"full_ft", "sparse_ft", "at_once", "epoch", "settled"}
PAPER = {"criterion": "both", "ratio": 0.25, "step": 15, "settle": 1}


def smoke(**changes: dict[str, Any]) -> Config:
    """The smoke configuration with other values of some keys of its sections."""
    file = ROOT / "config/smoke.yaml"
    raw = read_yaml(file)
    for section, keys in changes.items():
        raw[section] = raw.get(section, {}) | keys
    return load(raw, [file])


def hashes(config: Config) -> dict[str, str]:
    """What a job of every kind depends on beside its inputs, as a hash."""
    jobs = Jobs(config)
    return {name: jobs.of(kind, **told).config_hash for name, (kind, told) in EVERY.items()}


@pytest.mark.parametrize(
    "changes, touched",
    [
        ({"finetune": {"epochs": 2}}, {"full_ft", "sparse_ft"}),
        ({"finetune": {"patience": 2}}, {"full_ft", "sparse_ft", "at_once", "settled"}),
        ({"finetune": {"optimizer": "adamw_8bit"}}, TRAINED),
        # Adapters take the place of full fine-tuning alone, and where memory goes changes nothing.
        ({"finetune": {"lora": {}}}, {"full_ft"}),
        ({"compute": {"gradient_checkpointing": True}}, set()),
        # What an epoch takes of the training documents changes no prepared data.
        ({"finetune": {"documents": 7}}, {"full_ft", "sparse_ft", "settled"}),
        ({"trim": {"documents": 7}}, {"at_once", "epoch"}),
        ({"finetune": {"held_back_documents": 9}}, {"prepare"}),
        # A shorter chain has the same epochs, unless the learning rate decays over all of them.
        ({"trim": {"kept_percent": [50]}}, {"engine"}),
        ({"recipes": {"paper": PAPER | {"schedule": "chain"}}}, {"epoch"}),
        ({"recipes": {"paper": PAPER | {"settle": 3}}}, {"settled"}),
        ({"recipes": {"paper": PAPER | {"learning_rate": 1e-3}}}, {"epoch", "settled", "at_once"}),
        ({"recipes": {"paper": PAPER | {"pool": 9}}}, {"epoch", "settled"}),
        ({"recipes": {"paper": PAPER | {"resample": False}}}, {"epoch"}),
        ({"recipes": {"paper": PAPER | {"teacher": {"kl": 0.5}}}}, {"epoch", "settled", "teacher"}),
        ({"trim": {"row_budget": 9000}}, {"scan", "epoch"}),
        ({"evaluate": {"batch_tokens": 99}}, {"evaluation"}),
        # LLM-Pruner keeps a share, int4 formats have groups.
        ({"compress": {"kept": 0.25}}, set()),
        ({"compress": {"group_size": 32}}, {"compression"}),
        # Choices are asked for, not generated.
        ({"evaluate": {"answer_tokens": 9}}, set()),
        ({"throughput": {"repeats": 4}}, {"timing", "shape"}),
        ({"throughput": {"patterns": {"half": 0.5, "other": 0.4}}}, set()),
        ({"engines": {"prompt": 9}}, {"engine"}),
        ({"compute": {"threads": 2}}, set()),
        ({"compute": {"dtype": "float32"}}, {"scan", "teacher", "evaluation", *TRAINED}),
        ({"recipes": {"other": {"criterion": "likelihood", "ratio": 1, "step": 5}}}, set()),
    ],
    # A set's order differs between processes that share the tests.
    ids=lambda value: str(sorted(value)) if isinstance(value, set) else str(value),
)
def test_a_job_depends_on_what_changes_its_numbers(
    changes: dict[str, dict[str, Any]], touched: set[str]
) -> None:
    before, after = hashes(configuration("smoke")), hashes(smoke(**changes))
    assert {name for name in before if before[name] != after[name]} == touched


@pytest.mark.parametrize(
    "changes, touched",
    [
        ({"recipes": {"paper": PAPER | {"criterion": "toy_of_mine:toy"}}}, {"epoch"}),
        # Whatever is done with a model of the family.
        ({"models": {MODEL: {"family": "toy_of_mine:toy"}}}, {*EVERY} - {"prepare", "shape"}),
    ],
    ids=["criterion", "family"],
)
def test_what_is_ones_own_reruns_what_runs_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, dict[str, Any]],
    touched: set[str],
) -> None:
    file = tmp_path / "toy_of_mine.py"
    monkeypatch.syspath_prepend(tmp_path)
    if "models" in changes:
        entry = read_yaml(ROOT / "config/smoke.yaml")["models"][MODEL]
        changes = {"models": {MODEL: entry | changes["models"][MODEL]}}
    config, found = smoke(**changes), []
    for text in ("toy = 1\n", "# One.\ntoy  =  1\n", "toy = 2\n"):
        file.write_text(text)
        for cached in (codehash.code_hash, codehash._content):
            cached.cache_clear()
        found.append(hashes(config))
    first, same, other = found
    assert first == same
    assert {name for name in first if first[name] != other[name]} == touched


def test_a_chain_goes_from_epoch_to_epoch() -> None:
    jobs = Jobs(configuration("smoke"))
    first, second = (jobs.of("epoch", **CHAIN, name="paper", drop=drop) for drop in ("00", "15"))
    assert first.files["scan"] == "results/smoke/scans/smollm2-135m/sciq.json"
    assert first.files["manifest"].endswith("smollm2-135m/base/pretrained/manifest.json")
    folder = "results/smoke/models/smollm2-135m/sciq/trim_paper"
    assert second.files["epoch"] == f"{folder}/state_00/epoch.json"
    assert "scan" not in second.files and second.outputs[1] == f"{folder}/state_15/epoch.json"
    assert (first.how["arguments"]["start"], second.how["arguments"]["start"]) == (0, 1)
    assert first.how["arguments"]["until"] == 15 == second.how["arguments"]["until"]
    settled = jobs.of("settled", **CHAIN, name="paper", drop="15")
    assert settled.files["epoch"] == second.outputs[1]
    assert settled.files["manifest"] == f"{folder}/state_15/manifest.json"
    assert settled.outputs == [f"{folder}/drop_15/{name}.json" for name in ("manifest", "training")]
    assert settled.how["arguments"]["epochs"] == 1 and not settled.how["exact"]
    assert first.how["exact"] and second.how["exact"]


def test_a_chain_may_start_from_full_fine_tuning_and_learn_from_it() -> None:
    entry = {"criterion": "likelihood", "step": 15, "start": "full_ft", "teacher": {"hidden": 1.0}}
    jobs = Jobs(smoke(recipes={"mine": entry | {"learning_rate": 0.01}}))
    first = jobs.of("epoch", **CHAIN, name="mine", drop="00")
    assert first.files["manifest"].endswith("sciq/full_ft/manifest.json")
    assert "scan" not in first.files and first.files["teacher"].endswith("sciq.safetensors")
    settings = first.how["settings"]
    assert (settings["kl"], settings["hidden"], settings["schedule"]) == (0.7, 1.0, "constant")
    assert jobs.of("settled", **CHAIN, name="mine", drop="15").how["settings"]["kl"] == 0.7
    assert jobs.of("teacher", **CHAIN).how["every_token"]
    others = jobs.of("full_ft", **CHAIN), jobs.of("epoch", **CHAIN, name="paper", drop="00")
    assert not any("kl" in one.how["settings"] for one in others)
    # Neither what it starts from nor another chain takes its rate.
    model = jobs.config.models[MODEL].learning_rate
    assert settings["learning_rate"] == 0.01 != model
    assert {one.how["settings"]["learning_rate"] for one in others} == {model}


def test_a_rate_of_the_main_recipe_is_that_of_all_that_stands_for_it_and_of_nothing_else() -> None:
    raw = read_yaml(ROOT / "config/smoke.yaml")
    raw["recipes"] = {"paper": PAPER | {"learning_rate": 0.01}}
    raw["finetune"] = raw["finetune"] | {"lora": {"learning_rate": 0.003}}
    raw["tables"] = raw.get("tables", {}) | {"criteria": ["likelihood"], "ratios": [0.5]}
    jobs = Jobs(load(raw, [ROOT / "config/smoke.yaml"]))

    def rate(kind: str, **told: str) -> float:
        return float(jobs.of(kind, **CHAIN, **told).how["settings"]["learning_rate"])

    chains = ("paper", "likelihood_r0.5")
    assert {rate("epoch", name=name, drop="15") for name in chains} == {0.01}
    assert {rate("settled", name=name, drop="15") for name in chains} == {0.01}
    assert rate("at_once", by="bottom", drop="30") == 0.01
    assert rate("sparse_ft") == jobs.config.models[MODEL].learning_rate
    assert rate("full_ft") == 0.003


@pytest.mark.parametrize("settle", [0, 1, 7])
@pytest.mark.parametrize("train", [True, False])
def test_a_teacher_is_asked_of_all_that_its_pupils_learn_and_of_no_more(
    settle: int, train: bool
) -> None:
    """By the order in which epochs and settling passes draw."""
    entry = PAPER | {"step": 15, "settle": settle, "train": train, "teacher": {}}
    jobs = Jobs(smoke(recipes={"mine": entry}, trim={"documents": 9}, finetune={"documents": 11}))
    pool = [str(i) for i in range(200)]

    def drawn(number: int, how: dict[str, Any], count: int | None) -> set[str]:
        seed = how["settings"]["seed"] if "settings" in how else how["seed"]
        return set(documents_of_epoch(pool, number, count, seed))

    learned = set()
    for drop in ("00", "15", "30", "45"):
        told = jobs.of("epoch", **CHAIN, name="mine", drop=drop).how
        number, count = (told["arguments"][key] for key in ("start", "documents"))
        learned |= drawn(number, told, count)
        if drop != "00":
            told = jobs.of("settled", **CHAIN, name="mine", drop=drop).how
            for number in range(told["arguments"]["epochs"]):
                learned |= drawn(number, told, told["arguments"]["documents"])
    told = jobs.of("teacher", **CHAIN).how
    # Where nobody learns it says something of one: a file of nothing is none.
    assert drawn(0, told, told["documents"]) == (learned or drawn(0, told, 1))


@pytest.mark.parametrize("pool, documents", [(9, 9), (20, 9), (20, None), (150, 9)])
def test_a_teacher_is_asked_of_the_whole_pool(pool: int, documents: int | None) -> None:
    """Any of it may come, wherever it stands in its own order."""
    entry = PAPER | {"step": 15, "settle": 1, "teacher": {}, "pool": pool}
    jobs = Jobs(smoke(recipes={"mine": entry}, trim={"documents": documents}))
    every, told = [str(i) for i in range(200)], jobs.of("teacher", **CHAIN).how
    first = documents_of_epoch(every, 0, pool, told["seed"])
    learned = {
        one
        for number in range(4)
        for one in documents_of_epoch(first, number, documents, told["seed"])
    }
    assert learned <= {*documents_of_epoch(every, 0, told["documents"], told["seed"])}


def test_a_teacher_is_asked_of_all_documents_where_a_pass_takes_all() -> None:
    entry = PAPER | {"teacher": {}}
    for section in ("trim", "finetune"):
        jobs = Jobs(smoke(recipes={"mine": entry}, **{section: {"documents": None}}))
        assert jobs.of("teacher", **CHAIN).how["documents"] is None
    unsettled = {"mine": entry | {"settle": 0}}
    jobs = Jobs(smoke(recipes=unsettled, finetune={"documents": None}))
    assert jobs.of("teacher", **CHAIN).how["documents"] == 4 * 8


def test_what_is_no_epoch_is_told() -> None:
    jobs = Jobs(configuration("smoke"))
    assert jobs.past_the_end(MODEL, "paper", "45") is None
    assert "end at 45, and drop_60 was asked for" in jobs.past_the_end(MODEL, "paper", "60")
    assert "no epoch of chain paper ends at drop_20" in jobs.past_the_end(MODEL, "paper", "20")
    # As many digits as any run of the model needs, no more.
    assert "ends at drop_030" in jobs.past_the_end(MODEL, "paper", "030")


def test_a_compressor_proves_itself_on_documents_of_no_other_use(tmp_path: Path) -> None:
    """Neither trained, calibrated nor reported on, by content."""
    config = smoke(compress={}).model_copy(update={"results": str(tmp_path)})
    jobs = Jobs(config)
    asked = jobs.of("prepare", domain="sciq")
    folder = Path(asked.outputs[0]).parent
    # Rows of our own, so that nothing has to be fetched.
    rows = ({"q": f"Which is number {n}?", "c": [f"{n}", "none"], "a": 0} for n in range(300))
    write_jsonl(tmp_path / "rows.jsonl", rows)
    named = {"question": "q", "choices": "c", "answer": "a"}
    one = {"from": [{"file": str(tmp_path / "rows.jsonl")}], "fields": named}
    spec = {"label": "rows", "licence": "ours", "train": "s", "sets": {"s": one}}
    spec |= {"tests": {TASK: {"set": "s"}}}
    prepare(spec, folder, seed=0, limits=asked.how["limits"])
    kind, told = EVERY["compression"]
    read = jobs.of(kind, **told).files
    splits = {
        path.relative_to(folder).as_posix(): {one.hash for one in read_documents(path)}
        for path in folder.rglob("*.jsonl")
    }
    proof = splits.pop(Path(read["held_back"]).relative_to(folder).as_posix())
    assert proof and set(splits) == {"train.jsonl", "calibration.jsonl", f"tests/{TASK}.jsonl"}
    assert not proof & set().union(*splits.values())
    assert Path(read["train"]) == folder / "train.jsonl"


def test_an_export_whose_engine_is_missing_is_not_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMLLM_VLLM_PYTHON", "/nowhere/python")
    told = {"model": MODEL, "domain": "sciq", "recipe": "trim_paper/drop_30"}
    with pytest.raises(UserError, match="/nowhere/python is not an executable Python"):
        Jobs(configuration("config")).of("export", **told, format="vllm")
    monkeypatch.setenv("TRIMLLM_VLLM_PYTHON", sys.executable)
    assert "full" not in Jobs(configuration("config")).of("export", **told, format="vllm").files


def test_a_format_is_measured_down_to_its_least_percent() -> None:
    formats = ["llm_int8", "transformers"]
    engines = {"formats": formats, "kept_percent": [50, 25], "least_percent": {"llm_int8": 40}}
    jobs = Jobs(smoke(engines=engines, compress={"methods": ["llm_int8"]}))
    one = jobs.of("engines", hardware="here", model=MODEL, engine="transformers")
    assert one.how["models"] == [
        *(("full_ft", "llm_int8"), ("trim_paper/drop_30", "llm_int8")),
        *(
            (recipe, "transformers")
            for recipe in ("full_ft", "trim_paper/drop_30", "trim_paper/drop_45")
        ),
    ]
    assert not [file for file in one.files["loaded"] if "drop_45+llm_int8" in file]


def test_an_engine_reads_what_it_runs() -> None:
    jobs = Jobs(smoke(engines={"kept_percent": [50], "formats": ["gptq_int4", "awq_int4", "vllm"]}))
    told = {"hardware": "here", "model": MODEL}
    # Of the compressors one is made.
    assert jobs.engine_formats(MODEL) == {"transformers": ["gptq_int4"], "vllm": ["vllm"]}
    one = jobs.of("engines", **told, engine="transformers")
    recipes, folder = ("full_ft", "trim_paper/drop_30"), "results/smoke/models/smollm2-135m/sciq"
    assert one.how["models"] == [(recipe, "gptq_int4") for recipe in recipes]
    for kind, made in (("checkpoints", ""), ("loaded", "+gptq_int4")):
        assert one.files[kind] == [f"{folder}/{recipe}{made}/manifest.json" for recipe in recipes]
    with pytest.raises(UserError, match="none of engines.formats is smollm2-135m in llama_cpp"):
        jobs.of("engines", **told, engine="llama_cpp")


def test_blocks_are_chosen_by_what_the_calibration_documents_allow() -> None:
    raw = read_yaml(ROOT / "config/smoke.yaml") | {"domains": ["disflqa"]}
    raw["recipes"] = {"paper": PAPER | {"criterion": "answer_likelihood"}}
    free = Jobs(load(raw, []))
    told = {"model": MODEL, "domain": "disflqa"}
    for jobs, place, criterion in (
        (free, told, "answer_likelihood"),
        (Jobs(smoke()), CHAIN, "both"),
    ):
        by_rule = jobs.of("at_once", **place, by="bottom", drop="30")
        for job in (jobs.of("sparse_ft", **place), by_rule):
            assert job.how["arguments"]["criterion"] == criterion


def test_timings_take_the_threads_of_the_job_unless_some_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A job's threads are `--cores`, whatever the machine has."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)))
    for threads in (None, 1):
        jobs = Jobs(smoke(throughput={"threads": threads}))
        timing, engine = (
            jobs.of(kind, **place) for kind, place in (EVERY["timing"], EVERY["engine"])
        )
        assert timing.how["subject"]["threads"] == engine.how["threads"] == threads


def test_gptq_rows_are_timed_symmetric_where_their_checkpoints_are() -> None:
    rows = "full+gptq_int4", "full+awq_int4", "full"
    symmetric = {}
    for engine in ("gptqmodel", "auto-gptq"):
        jobs = Jobs(smoke(compress={"engines": {"gptq_int4": engine}}))
        told = {"hardware": "here", "model": "random-llama-tiny"}
        found = [jobs.of("throughput", **told, recipe=row).how["subject"] for row in rows]
        symmetric[engine] = [one.get("symmetric", False) for one in found]
    assert symmetric == {"gptqmodel": [False] * 3, "auto-gptq": [True, False, False]}
