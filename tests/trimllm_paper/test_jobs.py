"""What jobs read and depend on: all that changes a number, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
from configurations import ROOT, configuration

from trimllm.train.batching import documents_of_epoch
from trimllm_paper.config import Config, load, read_yaml
from trimllm_paper.integrity import codehash
from trimllm_paper.jobs import Jobs, measuring, training

MODEL, CHAIN = "smollm2-135m", {"model": "smollm2-135m", "domain": "sciq"}
# A job of every kind that makes results.
EVERY: dict[str, tuple[Any, dict[str, str]]] = {
    "fetch_model": (training.fetch_model, {"model": MODEL}),
    "prepare": (training.prepare, {"domain": "sciq"}),
    "scan": (training.scan, CHAIN),
    "full_ft": (training.full_ft, CHAIN),
    "sparse_ft": (training.sparse_ft, CHAIN),
    "at_once": (training.drop_at_once, CHAIN | {"by": "bottom", "drop": "30"}),
    "epoch": (training.trim_epoch, CHAIN | {"name": "paper", "drop": "30"}),
    "settled": (training.settle, CHAIN | {"name": "paper", "drop": "30"}),
    "choices": (training.full_ft_choices, CHAIN),
    "teacher": (training.teach, CHAIN | {"recipe": "full_ft"}),
    "compression": (measuring.compress, CHAIN | {"dense": "full_ft", "compressor": "gptq_int4"}),
    "evaluation": (measuring.evaluate, CHAIN | {"recipe": "trim_paper/drop_30", "tested": "sciq"}),
    "timing": (measuring.measure, {"hardware": "here", "model": MODEL, "recipe": "full_ft"}),
    "shape": (
        measuring.measure,
        {"hardware": "here", "model": "random-llama-tiny", "recipe": "full"},
    ),
    "engine": (measuring.engines, {"hardware": "here", "model": MODEL, "engine": "transformers"}),
}
TRAINED = {"full_ft", "choices", "sparse_ft", "at_once", "epoch", "settled"}
RELABELLED = read_yaml(ROOT / "config/smoke.yaml")["models"][MODEL] | {"label": "another name"}
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
    return {name: jobs.of(kind, **place).config_hash for name, (kind, place) in EVERY.items()}


@pytest.mark.parametrize(
    "changes, touched",
    [
        ({"finetune": {"epochs": 2}}, {"full_ft", "choices", "sparse_ft"}),
        ({"finetune": {"patience": 2}}, TRAINED - {"epoch"}),
        ({"finetune": {"optimizer": "adamw_8bit"}}, TRAINED),
        # Adapters take the place of full fine-tuning alone, and where memory goes changes nothing.
        ({"finetune": {"lora": {}}}, {"full_ft", "choices"}),
        ({"compute": {"gradient_checkpointing": True}}, set()),
        # What an epoch takes of the training documents changes no prepared data.
        ({"finetune": {"documents": 7}}, TRAINED - {"epoch", "at_once"}),
        ({"trim": {"documents": 7}}, {"at_once", "epoch"}),
        ({"finetune": {"held_back_documents": 9}}, {"prepare"}),
        # A shorter chain has the same epochs, unless the learning rate decays over all of them.
        ({"trim": {"kept_percent": [50]}}, {"engine"}),
        ({"recipes": {"paper": PAPER | {"schedule": "chain"}}}, {"epoch"}),
        ({"recipes": {"paper": PAPER | {"settle": 3}}}, {"settled"}),
        ({"recipes": {"paper": PAPER | {"learning_rate": 1e-3}}}, {"epoch", "settled", "at_once"}),
        ({"recipes": {"paper": PAPER | {"teacher": {"kl": 0.5}}}}, {"epoch", "settled", "teacher"}),
        ({"trim": {"row_budget": 9000}}, {"scan", "epoch"}),
        ({"evaluate": {"batch_tokens": 99}}, {"evaluation"}),
        # LLM-Pruner keeps a share, int4 formats have groups.
        ({"compress": {"kept": 0.25}}, set()),
        ({"compress": {"group_size": 32}}, {"compression"}),
        # Choices are asked for, not generated.
        ({"evaluate": {"answer_tokens": 9}}, set()),
        ({"throughput": {"repeats": 4}}, {"timing", "shape"}),
        # Tables take labels from the configuration.
        ({"models": {MODEL: RELABELLED}}, set()),
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


def test_a_chain_may_start_from_full_fine_tuning_and_learn_from_it() -> None:
    entry = {"criterion": "likelihood", "step": 15, "start": "full_ft", "teacher": {"hidden": 1.0}}
    first = Jobs(smoke(recipes={"mine": entry})).of(
        training.trim_epoch, **CHAIN, name="mine", drop="00"
    )
    assert first.inputs["manifest"].endswith("sciq/full_ft/manifest.json")
    assert "scan" not in first.inputs and first.inputs["teacher"].endswith("/full_ft.safetensors")


def test_variants_have_the_main_recipes_rate_and_adapters_their_own() -> None:
    rates = {"recipes": {"paper": PAPER | {"learning_rate": 0.01}}}
    rates |= {"finetune": {"lora": {"learning_rate": 0.003}}}
    jobs = Jobs(smoke(**rates, tables={"criteria": ["likelihood"], "ratios": [0.5]}))
    variant = jobs.of(training.trim_epoch, **CHAIN, name="likelihood_r0.5", drop="15")
    assert variant.params["settings"]["learning_rate"] == 0.01
    assert jobs.of(training.full_ft, **CHAIN).params["settings"]["learning_rate"] == 0.003


@pytest.mark.parametrize("settle", [0, 1, 7])
@pytest.mark.parametrize("train", [True, False])
def test_a_teacher_covers_all_that_its_pupils_learn_and_no_more(settle: int, train: bool) -> None:
    """By the order in which epochs and annealing passes draw."""
    entry = PAPER | {"settle": settle, "train": train, "teacher": {}}
    jobs = Jobs(smoke(recipes={"mine": entry}, trim={"documents": 9}, finetune={"documents": 11}))
    pool = [str(i) for i in range(200)]
    teacher = jobs.of(training.teach, **CHAIN, recipe="full_ft").params

    def drawn(number: int, count: int | None) -> set[str]:
        return set(documents_of_epoch(pool, number, count, teacher["seed"]))

    learned = set()
    for drop in ("00", "15", "30", "45"):
        place = CHAIN | {"name": "mine", "drop": drop}
        epoch = jobs.of(training.trim_epoch, **place).params["arguments"]
        learned |= drawn(epoch["start"], epoch["documents"])
        passes = jobs.of(training.settle, **place).params["arguments"]
        for number in range(passes["epochs"]):
            learned |= drawn(number, passes["documents"])
    # Where nobody learns it covers one document: an empty file is no teacher.
    assert drawn(0, teacher["documents"]) == (learned or drawn(0, 1))


def test_a_compressor_proves_itself_on_documents_of_no_other_use() -> None:
    kind, place = EVERY["compression"]
    read, folder = Jobs(smoke(compress={})).of(kind, **place).inputs, "results/smoke/data/sciq"
    names = {"train": "train.jsonl", "held_back": "held_back.jsonl", "report": "report.json"}
    assert {key: read[key] for key in names} == {k: f"{folder}/{v}" for k, v in names.items()}


def test_blocks_are_chosen_by_what_the_calibration_documents_allow() -> None:
    raw = read_yaml(ROOT / "config/smoke.yaml") | {"domains": ["disflqa"]}
    raw["recipes"] = {"paper": PAPER | {"criterion": "answer_likelihood"}}
    free = Jobs(load(raw, [])), "disflqa", "answer_likelihood"
    for jobs, domain, criterion in (free, (Jobs(smoke()), "sciq", "both")):
        place = {"model": MODEL, "domain": domain}
        by_rule = jobs.of(training.drop_at_once, **place, by="bottom", drop="30")
        for job in (jobs.of(training.sparse_ft, **place), by_rule):
            assert job.params["arguments"]["criterion"] == criterion
