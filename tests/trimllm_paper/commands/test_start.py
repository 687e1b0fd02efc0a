"""`trimllm start` on files as people have them: what it prints and writes, on a tiny model."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow
import pytest
import yaml
from exports import byte_tokenizer
from huggingface_hub import HfApi
from models import tiny
from pyarrow import parquet
from wheels import lines, question_rows

import trimllm
from trimllm.data import hub
from trimllm_paper.__main__ import main

Start = Callable[..., tuple[int, str, list[str]]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    small = tiny("llama", vocab_size=320, max_position_embeddings=1024)
    folder = tmp_path_factory.mktemp("start") / "model"
    return trimllm.save(small, byte_tokenizer(), folder, dtype="float32")


@pytest.fixture
def start(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Start:
    """Runs the command in a folder of its own: its status, output and lines of errors."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, list[str]]:
        status = main(["start", *words, "--model", str(model), "--format", "padded"])
        output = capsys.readouterr()
        return status, output.out, output.err.splitlines()

    return run


def write(name: str, rows: list[dict[str, Any]]) -> None:
    Path(name).write_text(lines(rows))


def test_too_few_rows_are_refused_and_nothing_is_written(start: Start) -> None:
    write("few.jsonl", question_rows(99) + question_rows(99)[:5])
    status, _, lines = start("few.jsonl")
    assert status == 1 and [path.name for path in Path().iterdir()] == ["few.jsonl"]
    assert lines == ["error: few.jsonl: 99 different documents are too few; 100 are needed"]
    write("my.jsonl", question_rows(150)[20:])
    write("tests.jsonl", question_rows(10))
    status, _, (line,) = start("my.jsonl", "--test", "tests.jsonl")
    assert status == 1 and "tests.jsonl: 10 different documents are too few; 15 are" in line
    write("tests.jsonl", question_rows(60))  # more than a few of them are trained on
    status, _, (line,) = start("my.jsonl", "--test", "tests.jsonl")
    assert status == 1 and "of the 130 documents of set own are test documents (my.json" in line
    assert not Path("own.yaml").exists()


def test_a_table_of_parquet_names_rows_and_tokens_are_measured(start: Start) -> None:
    """A scan's row holds every answer behind the prompt, training's the right one alone."""
    rows = [
        {"question": f"Number {i:03}?", "choices": [f"is {i % 9}", "not that"], "answer": 0}
        for i in range(110)
    ]
    broken = {"question": "x", "choices": ["one", "two"], "answer": 7}
    parquet.write_table(pyarrow.Table.from_pylist([*rows, broken]), "my.parquet")
    status, output, _ = start("my.parquet")
    assert status == 0 and "my.parquet: 111 questions with choices (fields question," in output
    assert "left out: 1 rows, the first my.parquet, row 111 (answer 7 of 2 choices)" in output
    expected = yaml.safe_load(Path("my.yaml").read_text())["expected"]
    # The last token of an answer is predicted and not read.
    wrong = byte_tokenizer().encode(" not that", add_special_tokens=False)
    assert expected["tokens"] - expected["trained"] == len(wrong) - 1 > 0


def test_a_data_set_of_the_hub_is_pinned(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    commit, reads = "c" * 40, []

    def loaded(name: str, config: str | None, *, split: str, revision: str) -> list[dict[str, Any]]:
        reads.append((name, split, revision))
        return question_rows(110)

    status, _, (line,) = start("owner/nothing")
    assert status == 1 and "owner/nothing does not exist here, and the hub has no such" in line
    monkeypatch.setattr(hub.datasets, "load_dataset", loaded)
    monkeypatch.setattr(HfApi, "dataset_info", lambda self, name: SimpleNamespace(sha=commit))
    status, output, _ = start("owner/sums:test")
    assert status == 0 and "owner/sums:test: 110 questions with choices" in output
    assert {*reads} == {("owner/sums", "test", commit)}
    (one,) = yaml.safe_load(Path("sums-test.yaml").read_text())["sets"].values()
    assert one["from"] == [{"hub": "owner/sums", "revision": commit, "split": "test"}]
