"""From a file of questions to a model that answers: the three commands, on a tiny model."""

import importlib.util
import json
import random
from pathlib import Path

import pytest
import yaml
from exports import byte_tokenizer
from models import tiny
from runs import snakemake

import trimllm
from trimllm_paper.__main__ import main
from trimllm_paper.commands import export
from trimllm_paper.records import Answers, Choice, Evaluation

pytestmark = pytest.mark.slow
LLAMA_CPP = importlib.util.find_spec("xllamacpp") is not None
FORMAT = "gguf_f32" if LLAMA_CPP else "padded"
TRIMMED = "trim_ours/drop_05"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and 120 questions, and what `trimllm start` writes for them."""
    folder = tmp_path_factory.mktemp("own")
    model = tiny("llama", vocab_size=320, max_position_embeddings=1024)
    trimllm.save(model, byte_tokenizer(), folder / "model", dtype="float32")
    draw, lines = random.Random(0), []
    for number in range(120):
        choices = [str(number + 1), str(number + 2), str(number + 3)]
        draw.shuffle(choices)
        row = {"question": f"What is {number} and one?", "choices": choices}
        lines.append(json.dumps(row | {"answer": choices.index(str(number + 1))}))
    (folder / "sums.jsonl").write_text("\n".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert start("sums.jsonl", "--want", "above_percent=10") == 0
    return folder


def start(*words: str) -> int:
    return main(["start", *words, "--model", "model", "--format", FORMAT])


@pytest.fixture(scope="module")
def own(folder: Path) -> Path:
    """The same after a run of two epochs and one checkpoint to choose beside the full model."""
    config = yaml.safe_load((folder / "own.yaml").read_text())
    config["recipes"]["ours"] |= {"step": 5, "settle": 1}
    config["trim"]["kept_percent"] = [50]
    config["finetune"]["epochs"] = 1
    config["throughput"] = {"tokens": 24, "generate": 4, "repeats": 1, "threads": 1}
    (folder / "short.yaml").write_text(yaml.safe_dump(config))
    run = snakemake(folder, "own", configfile=folder / "short.yaml", results="results/sums")
    assert run.returncode == 0, run.stderr[-4000:]
    choice, report = (
        line for line in run.stderr.splitlines() if "required:" in line or "report:" in line
    )
    assert "smallest above 10% of full fine-tuning; chosen: " in choice
    assert "results/sums/chosen/model/report.html; serve it: trimllm serve results/sums" in report
    return folder


def test_start_writes_a_commented_configuration_and_overwrites_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    text = Path("own.yaml").read_text()
    assert yaml.safe_load(text)["own"] == {"above_percent": 10, "export": FORMAT}
    assert text.count("#") > 12 and "sums.jsonl: 120 questions with choices" in text
    assert yaml.safe_load(Path("sums.yaml").read_text())["expected"]["train"] > 60
    assert start("sums.jsonl") == 1 and Path("own.yaml").read_text() == text
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: own.yaml, sums.yaml exists; --force writes it anew")


def test_the_choice_saw_no_test_document(own: Path) -> None:
    choice = Choice.read(own / "results/sums/chosen/model/choice.json")
    assert [one.recipe for one in choice.candidates] == ["full_ft", TRIMMED]
    assert choice.recipe == TRIMMED and not choice.missed
    report = json.loads((own / "results/sums/data/sums/report.json").read_text())
    sizes = {name: one["documents"] for name, one in report["splits"].items()}
    assert {one.documents for one in choice.candidates} == {sizes["held_back"]}
    tests = sorted((own / "results/sums/eval/model/sums").rglob("*.json"))
    tested = {one.recipe: one.n for one in map(Evaluation.read, tests)}
    assert tested == dict.fromkeys(["pretrained", "full_ft", TRIMMED], sizes["tests/sums"])
    rows = []
    for name in ("train", "calibration", "held_back", "tests/sums"):
        lines = (own / f"results/sums/data/sums/{name}.jsonl").read_text().splitlines()
        rows += [json.loads(line)["prompt"] for line in lines]
    assert len(rows) == len({*rows}) == 120


def test_the_card_tells_of_other_text(own: Path) -> None:
    card = next((own / "results/sums/export").rglob("README.md")).read_text()
    path = own / f"results/sums/chosen/model/{TRIMMED}/answers.json"
    assert f"on neutral English text: {Answers.read(path).perplexity:.1f} (" in card
    assert " tokens/s (fully fine-tuned " in card


def test_what_was_made_is_verified_and_chosen_again_by_another_wish(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(own)
    assert main(["verify", "results/sums"]) == 0 and "none failed" in capsys.readouterr().out
    if LLAMA_CPP:
        file = export.gguf_file(Path("results/sums"))
        assert file.parent == Path(f"results/sums/export/model/sums/{TRIMMED}/{FORMAT}")
    same = {"configfile": own / "short.yaml", "results": "results/sums"}
    run = snakemake(own, "own", "--dry-run", **same)
    assert run.returncode == 0 and "Nothing to be done" in run.stdout + run.stderr
    wish = '{"above_percent": 99, "megabytes": 1}'
    run = snakemake(own, "own", "--dry-run", **same, own=wish)
    assert run.returncode == 0, run.stderr[-3000:]
    assert "choose a checkpoint of model" in run.stdout + run.stderr
    assert "fine-tune model" not in run.stdout + run.stderr
