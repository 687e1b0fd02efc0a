"""From a file of questions to a model that answers: the three commands, on a tiny model."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import browser
import pytest
import yaml
from exports import byte_tokenizer
from models import tiny
from runs import ROOT, environment, snakemake

import trimllm
from trimllm_paper.choices import Answers, Choice
from trimllm_paper.records import Evaluation

pytestmark = pytest.mark.slow
LLAMA_CPP = importlib.util.find_spec("xllamacpp") is not None
FORMAT = "gguf_f32" if LLAMA_CPP else "padded"


def command(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trimllm_paper", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment() | {"HF_HUB_OFFLINE": "1"} | more,
        timeout=600,
    )


def questions(path: Path, count: int = 120) -> None:
    draw = random.Random(0)
    with path.open("w") as stream:
        for number in range(count):
            choices = [str(number + 1), str(number + 2), str(number + 3)]
            draw.shuffle(choices)
            row = {"question": f"What is {number} and one?", "choices": choices}
            stream.write(json.dumps(row | {"answer": choices.index(str(number + 1))}) + "\n")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which `trimllm start` was run, and what it said."""
    folder = tmp_path_factory.mktemp("own")
    model = tiny("llama", vocab_size=320, max_position_embeddings=1024)
    trimllm.save(model, byte_tokenizer(), folder / "model", dtype="float32")
    questions(folder / "sums.jsonl")
    words = ("sums.jsonl", "--model", "model", "--format", FORMAT)
    run = command(folder, "start", *words, "--want", "smallest above 10%")
    assert run.returncode == 0, run.stderr
    return folder, run.stdout


def shorten(folder: Path) -> None:
    """Two epochs, one checkpoint to choose beside the full model."""
    config = yaml.safe_load((folder / "own.yaml").read_text())
    config["recipes"]["ours"] |= {"step": 5, "settle": 1}
    config["trim"]["kept_percent"] = [50]
    config["finetune"]["epochs"] = 1
    config["throughput"] = {"tokens": 24, "generate": 4, "repeats": 2, "threads": 1}
    (folder / "short.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def own(started: tuple[Path, str]) -> Path:
    """The same after the run, which is made shorter first."""
    folder, _ = started
    shorten(folder)
    run = snakemake(folder, "own", configfile=folder / "short.yaml", results="results/sums")
    assert run.returncode == 0, run.stderr[-4000:]
    said = [line for line in run.stderr.splitlines() if line.startswith(("asked:", "Report:"))]
    assert len(said) == 2 and "smallest above 10% of full fine-tuning; chosen: " in said[0]
    assert "results/sums/chosen/model/report.html; serve it: trimllm serve results/sums" in said[1]
    return folder


def test_start_says_what_it_found_and_what_will_run(started: tuple[Path, str]) -> None:
    folder, said = started
    assert "sums.jsonl: 120 questions with choices (fields question, choices, answer)" in said
    assert "no question is in two of them" in said and "10 units" in said
    assert "next: snakemake --cores all" in said and "GiB of memory" in said
    config = yaml.safe_load((folder / "own.yaml").read_text())
    assert config["own"] == {"above_percent": 10, "export": FORMAT}
    domain = yaml.safe_load((folder / "sums.yaml").read_text())
    assert domain["expected"]["train"] > 60
    # every key has a word that says why
    assert (folder / "own.yaml").read_text().count("#") > 12


def test_start_writes_over_nothing(started: tuple[Path, str]) -> None:
    folder, _ = started
    before = (folder / "own.yaml").read_bytes()
    run = command(folder, "start", "sums.jsonl", "--model", "model", "--format", FORMAT)
    assert run.returncode == 1 and (folder / "own.yaml").read_bytes() == before
    (line,) = run.stderr.splitlines()
    assert line.startswith("error: own.yaml, sums.yaml exists; --force writes it anew")


def test_tests_that_are_trained_on_are_refused(started: tuple[Path, str]) -> None:
    folder, _ = started
    shutil.copyfile(folder / "sums.jsonl", folder / "same.jsonl")
    words = ("--model", "model", "--test", "same.jsonl", "--output", "other/own.yaml")
    run = command(folder, "start", "sums.jsonl", *words, "--format", FORMAT)
    (line,) = run.stderr.splitlines()
    assert run.returncode == 1 and not (folder / "other").exists()
    assert "120 of the 120 questions of sums.jsonl are in same.jsonl too (sums.jsonl:1 is" in line


def test_labelled_texts_with_tests_of_their_own(started: tuple[Path, str]) -> None:
    folder, _ = started
    for name, first in (("mail", 0), ("mail_tests", 200)):
        with (folder / f"{name}.jsonl").open("w") as stream:
            for i in range(first, first + 90):
                row = {"text": f"Message {i} of the day.", "label": ["spam", "ham"][i % 2]}
                stream.write(json.dumps(row) + "\n")
    words = ("--model", "model", "--test", "mail_tests.jsonl", "--output", "mail/own.yaml")
    run = command(folder, "start", "mail.jsonl", *words, "--format", FORMAT)
    assert run.returncode == 0, run.stderr
    assert "labels: spam 50%, ham 50%" in run.stdout
    domain = yaml.safe_load((folder / "mail/mail.yaml").read_text())
    assert domain["sets"]["own"]["construct"]["labels"] == {"ham": "ham", "spam": "spam"}
    assert domain["tests"] == {"mail": {"set": "tests"}}


def test_the_choice_saw_no_test_document(own: Path) -> None:
    choice = Choice.read(own / "results/sums/chosen/model/choice.json")
    assert [one.recipe for one in choice.candidates] == ["full_ft", "trim_ours/drop_05"]
    assert choice.recipe == "trim_ours/drop_05" and not choice.missed
    report = json.loads((own / "results/sums/data/sums/report.json").read_text())
    sizes = {name: one["documents"] for name, one in report["splits"].items()}
    assert {one.documents for one in choice.candidates} == {sizes["held_back"]}
    folder = own / "results/sums/eval/model/sums"
    tested = [Evaluation.read(file) for file in sorted(folder.rglob("*.json"))]
    assert {one.recipe for one in tested} == {"pretrained", "full_ft", "trim_ours/drop_05"}
    assert {one.n for one in tested} == {sizes["tests/sums"]}
    rows = {}
    for name in ("train", "calibration", "held_back", "tests/sums"):
        lines = (own / f"results/sums/data/sums/{name}.jsonl").read_text().splitlines()
        rows[name] = {json.loads(line)["prompt"] for line in lines}
    assert sum(map(len, rows.values())) == len(set().union(*rows.values())) == 120


def test_the_card_tells_of_other_text(own: Path) -> None:
    card = next((own / "results/sums/export").rglob("README.md")).read_text()
    path = own / "results/sums/chosen/model/trim_ours/drop_05/answers.json"
    assert f"perplexity {Answers.read(path).perplexity:.1f} on neutral English text" in card
    assert " tokens/s (fully fine-tuned " in card


@pytest.mark.parametrize("width, height", [(1280, 900), (390, 844)])
def test_a_browser_shows_the_report(own: Path, width: int, height: int) -> None:
    report = json.loads((own / "results/sums/data/sums/report.json").read_text())
    shown = min(20, report["splits"]["held_back"]["documents"])
    with browser.opened() as page:
        page.resize(width, height)
        page.open(own / "results/sums/chosen/model/report.html")
        browser.check_report(page, width, shown)


def test_what_was_made_is_verified_and_not_made_again(own: Path) -> None:
    verified = command(own, "verify", "results/sums")
    assert verified.returncode == 0 and "none failed" in verified.stdout
    run = snakemake(own, "own", configfile=own / "short.yaml", results="results/sums")
    assert run.returncode == 0 and "Nothing to be done" in run.stdout + run.stderr


def test_another_wish_chooses_again_and_trains_nothing(own: Path) -> None:
    run = snakemake(
        own,
        "own",
        "--dry-run",
        configfile=own / "short.yaml",
        results="results/sums",
        own='{"above_percent": 99, "megabytes": 1}',
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "choose a checkpoint of model" in run.stdout + run.stderr
    assert "fine-tune model" not in run.stdout + run.stderr


def test_without_a_section_it_is_one_line(tmp_path: Path) -> None:
    run = snakemake(tmp_path, "own")
    lines = [line for line in run.stderr.splitlines() if "error: " in line]
    assert run.returncode != 0 and len(lines) == 1
    assert "has no section `own`" in lines[0] and "trimllm start" in lines[0]


@pytest.mark.skipif(not LLAMA_CPP, reason="llama.cpp (xllamacpp) is not installed")
def test_it_answers(own: Path) -> None:
    words = [sys.executable, "-m", "trimllm_paper", "serve", "results/sums", "--port", "0"]
    told = (own / "serve.log").open("w+")
    server = subprocess.Popen(words, cwd=own, stdout=told, stderr=told, env=environment())
    try:
        end = time.monotonic() + 120
        while " answers at " not in (said := (own / "serve.log").read_text()):
            assert server.poll() is None and time.monotonic() < end, said
            time.sleep(0.5)
        address = said.split(" answers at ")[1].split()[0]
        body = json.dumps({"prompt": "Question: What is 3 and one?\nAnswer:", "max_tokens": 4})
        request = urllib.request.Request(
            f"{address}/v1/completions", body.encode(), {"Content-Type": "application/json"}
        )
        answer = json.load(urllib.request.urlopen(request, timeout=60))
        assert answer["usage"]["completion_tokens"] >= 1 and "text" in answer["choices"][0]
    finally:
        server.kill()
        server.wait()


def test_free_answers_out_of_a_table(started: tuple[Path, str], tmp_path: Path) -> None:
    shutil.copytree(started[0] / "model", tmp_path / "model")
    lines = [f"What follows {number}?,It is {number + 1}." for number in range(100)]
    (tmp_path / "faq.csv").write_text("\n".join(["question,answer", *lines]))
    run = command(tmp_path, "start", "faq.csv", "--model", "model", "--format", "padded")
    assert run.returncode == 0, run.stderr
    assert "100 questions with free answers (fields question, answer)" in run.stdout
    shorten(tmp_path)
    done = snakemake(tmp_path, "own", configfile=tmp_path / "short.yaml", results="results/faq")
    assert done.returncode == 0, done.stderr[-4000:]
    assert "probability of a right token" in done.stderr
    page = (tmp_path / "results/faq/chosen/model/report.html").read_text(encoding="utf-8")
    assert "F1 against size and speed" in page and "It is" in page
    assert "their perplexity" in page and "by a message:</p>\n<pre>What follows" in page
    assert "from_pretrained" in page and "trimllm serve" not in page


def test_make_passes_on_what_start_takes() -> None:
    told = {"FILE": "my.csv", "MODEL": "m", "TEST": "t.csv", "FORMAT": "vllm", "MINUTES": "5"}
    words = [f"{name}={value}" for name, value in told.items()]
    run = subprocess.run(["make", "-n", "start", *words], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0 and "start 'my.csv' --model 'm'" in run.stdout
    assert "--test 't.csv' --format 'vllm' --minutes '5'" in " ".join(
        run.stdout.replace("\\", "").split()
    )
