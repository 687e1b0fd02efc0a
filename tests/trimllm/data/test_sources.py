"""Sources: the rows of files, data sets and tasks, and every fault with file and line."""

import json

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from wheels import lines, question_rows

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.data.hub import task_manager
from trimllm.data.rows import RowError
from trimllm.data.sources import read_source

ROWS = question_rows(4)
LATIN = '{"q":\n1}\n{"q": "caf\xe9"}\n'.encode("latin-1")


def read(folder, name, content):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_source({"file": str(folder / name)})[0]


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_local_files(tmp_path, kind, monkeypatch):
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        path.write_text(lines(ROWS) if kind == "jsonl" else json.dumps({"data": ROWS}))
    monkeypatch.setenv("SOME_FOLDER", str(tmp_path))
    rows, _ = read_source({"file": f"${{SOME_FOLDER}}/rows.{kind}", "lines": [3, 0]})
    mark = ":" if kind == "jsonl" else ", row "
    assert rows == [(f"{path.name}{mark}4", ROWS[3]), (f"{path.name}{mark}1", ROWS[0])]
    with pytest.raises(UserError, match=rf"there is no line 9 in rows\.{kind}, which has 4"):
        read_source({"file": str(path), "lines": [9]})


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_rows_of_a_csv_by_the_names_of_its_header(tmp_path, delimiter):
    text = 'q,a\n"one, or\n""two""?",1\n\nthree?,3\n'.replace(",", delimiter)
    assert read(tmp_path, "rows.csv", "\ufeff" + text) == [
        ("rows.csv:3", {"q": f'one{delimiter} or\n"two"?', "a": "1"}),
        ("rows.csv:5", {"q": "three?", "a": "3"}),
    ]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("rows.csv", "q,q\n1,2\n", "rows.csv:1: the header needs a name for each column, each o"),
        ("rows.csv", 'q,a\n1,2\n3,"4\n5,6\n', "after rows.csv:2: not a row of a CSV .unex"),
        ("rows.txt", "a,b", "is not .jsonl, .json, .csv, .tsv or .parquet"),
        ("rows.json", '{"rows": 3}', "neither a list"),
        ("rows.parquet", "no", "is not readable"),
        ("rows.jsonl", LATIN, "^rows.jsonl:3: not UTF-8"),
    ],
)
def test_what_is_no_file_of_rows(tmp_path, name, content, reason):
    with pytest.raises(UserError, match=reason):
        read(tmp_path, name, content)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"file": "nowhere.jsonl"}, "does not exist"),
        ({"file": "${SOME_FOLDER}/a.jsonl"}, "needs the environment variable SOME_FOLDER"),
        ({"hub": "nobody/nothing", "split": "train"}, "nobody/nothing train cannot be read"),
    ],
)
def test_what_is_no_source(source, reason):
    with pytest.raises(UserError, match=reason):
        read_source(source)


@pytest.mark.parametrize(
    ("name", "text", "places", "fault"),
    [
        ("rows.jsonl", '{"q": 1}\n{"q": \n\n{"q": 2}\n', (1, 2, 4), "not JSON"),
        ("rows.csv", "q,a\n1,2\n1,2,3\n1,2\n", (2, 3, 4), "not the 2 fields that the header names"),
    ],
)
def test_a_broken_line_is_a_row_that_does_not_parse(tmp_path, name, text, places, fault):
    rows = read(tmp_path, name, text)
    assert [place for place, _ in rows] == [f"{name}:{number}" for number in places]
    assert isinstance(rows[1][1], RowError) and str(rows[1][1]) == fault


@pytest.mark.slow
def test_a_task_gives_the_prompts_of_the_evaluation(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows.jsonl").write_text(lines(ROWS))
    task = {
        "task": "tiny_task",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "description": "Answer.\n\n",
        "doc_to_text": "Q: {{question}}\nA:",
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.0},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(task))
    source = {"task": "tiny_task", "include_path": str(tmp_path)}
    documents = [row.document for _, row in read_source(source)[0]]
    assert documents[0] == Document("Answer.\n\nQ: q 0?\nA:", (" yes 0", " no 0"), 0)
    known = task_manager(include_path=str(tmp_path)).load(["tiny_task"])["tasks"]["tiny_task"]
    known.build_all_requests(limit=None, rank=0, world_size=1)
    requests = [tuple(request.args) for request in known.instances]
    assert requests == [(d.prompt, choice) for d in documents for choice in d.choices]
    with pytest.raises(UserError, match="lm-eval task tiny_task has no train documents"):
        read_source({**source, "split": "train"})
    with pytest.raises(UserError, match="lm-eval has no task 'nothing_like_it'"):
        read_source({**source, "task": "nothing_like_it"})
