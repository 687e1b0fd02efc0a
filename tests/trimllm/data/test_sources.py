from __future__ import annotations

import json

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from wheels import lines, question_rows

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.data.hub import _task_manager
from trimllm.data.rows import RowError
from trimllm.data.sources import read_source

ROWS = question_rows(4)


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_local_files(tmp_path, kind, monkeypatch):
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        path.write_text(lines(ROWS) if kind == "jsonl" else json.dumps({"data": ROWS}))
    monkeypatch.setenv("SOME_FOLDER", str(tmp_path))
    rows = read_source({"file": f"${{SOME_FOLDER}}/rows.{kind}", "lines": [3, 0]}).rows
    where = (":4", ":1") if kind == "jsonl" else (", row 4", ", row 1")
    assert rows == [
        (f"{path.name}{place}", ROWS[n]) for place, n in zip(where, (3, 0), strict=True)
    ]
    with pytest.raises(UserError, match=rf"there is no line 9 in rows\.{kind}, which has 4"):
        read_source({"file": str(path), "lines": [9]})


def test_a_broken_line_is_a_row_that_does_not_parse(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(lines([ROWS[0], '{"question": ', "", ROWS[1]]))
    rows = read_source({"file": str(path)}).rows
    assert [where for where, _ in rows] == ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:4"]
    assert isinstance(rows[1][1], RowError)


def test_what_is_no_file_of_rows(tmp_path, monkeypatch):
    for name, text, reason in [
        ("rows.txt", "a,b", "is not .jsonl, .json, .csv, .tsv or .parquet"),
        ("rows.json", "{", "is not readable"),
        ("rows.json", '{"rows": 3}', "neither a list"),
        ("rows.parquet", "no", "is not readable"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=reason):
            read_source({"file": str(tmp_path / name)})
    with pytest.raises(UserError, match="does not exist"):
        read_source({"file": str(tmp_path / "nowhere.jsonl")})
    with pytest.raises(UserError, match="needs the environment variable SOME_FOLDER"):
        read_source({"file": "${SOME_FOLDER}/a.jsonl"})
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    with pytest.raises(UserError, match="hub data set nobody/nothing train cannot be read"):
        read_source({"hub": "nobody/nothing", "split": "train"})


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
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks/tiny.yaml").write_text(yaml.safe_dump(task))
    source = {"task": "tiny_task", "include_path": str(tmp_path / "tasks")}
    documents = [document for _, document in read_source(source).rows]
    assert documents[0] == Document("Answer.\n\nQ: q 0?\nA:", (" yes 0", " no 0"), 0)
    manager = _task_manager(include_path=source["include_path"])
    known = manager.load(["tiny_task"])["tasks"]["tiny_task"]
    known.build_all_requests(limit=None, rank=0, world_size=1)
    requests = [tuple(request.args) for request in known.instances]
    assert requests == [(d.prompt, choice) for d in documents for choice in d.choices]
    with pytest.raises(UserError, match="lm-eval task tiny_task has no train documents"):
        read_source({**source, "split": "train"})
    with pytest.raises(UserError, match="lm-eval has no task 'nothing_like_it'"):
        read_source({**source, "task": "nothing_like_it"})
