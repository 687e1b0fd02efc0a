from __future__ import annotations

import json

import pytest
import yaml
from wheels import lines, make_wheel, question_rows

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.data.hub import _task_manager
from trimllm.data.rows import RowError
from trimllm.data.sources import expand, read_source
from trimllm.data.wheels import wheel_path

ROWS = question_rows(4)
MEMBER = "some_data/set/test.jsonl"


@pytest.fixture
def downloads(tmp_path):
    make_wheel(tmp_path / "downloads", "some-data", {MEMBER: lines(ROWS)})
    return tmp_path / "downloads"


def read(source, downloads, **known):
    return read_source(source, downloads=downloads, wheels={"some-data": known})


def test_wheel_member(downloads):
    found = read({"wheel": "some-data", "member": MEMBER}, downloads)
    assert found.rows[0] == ("test.jsonl:1", ROWS[0])
    assert len(found.rows) == 4
    assert list(found.sha256) == ["some_data-1.0-py3-none-any.whl"]


def test_lines_are_zero_based_and_keep_their_order(downloads):
    found = read({"wheel": "some-data", "member": MEMBER, "lines": [3, 0]}, downloads)
    assert [where for where, _ in found.rows] == ["test.jsonl:4", "test.jsonl:1"]
    with pytest.raises(UserError, match=r"line 9 was asked for, test\.jsonl has"):
        read({"wheel": "some-data", "member": MEMBER, "lines": [9]}, downloads)


def test_a_wheel_is_checked(downloads):
    source = {"wheel": "some-data", "member": MEMBER}
    path, digest = make_wheel(downloads, "some-data", {MEMBER: lines(ROWS)})
    assert len(read(source, downloads, version="1.0", sha256=digest).rows) == 4
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        UserError, match=r"some_data-1\.0-.* has sha256 .*; delete it and run again"
    ):
        read(source, downloads, version="1.0", sha256=digest)
    with pytest.raises(UserError, match="is not readable .*: delete it"):
        read(source, downloads)


def test_what_a_wheel_lacks(downloads):
    with pytest.raises(UserError, match="has no member 'other'"):
        read({"wheel": "some-data", "member": "other"}, downloads)
    with pytest.raises(UserError, match="no wheel of other in .*: put it there"):
        read({"wheel": "other", "member": MEMBER}, downloads)
    with pytest.raises(UserError, match=r"no wheel of some-data 2\.0"):
        read({"wheel": "some-data", "member": MEMBER}, downloads, version="2.0")
    (downloads / "some_data-2.0-py3-none-any.whl").touch()
    with pytest.raises(UserError, match="more than one wheel of some-data"):
        wheel_path("some-data", downloads)


def test_a_broken_line_is_a_row_that_does_not_parse(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(lines([ROWS[0], '{"question": ', "", ROWS[1]]))
    found = read_source({"file": str(path)}, downloads=tmp_path)
    assert [where for where, _ in found.rows] == ["rows.jsonl:1", "rows.jsonl:2", "rows.jsonl:4"]
    assert isinstance(found.rows[1][1], RowError)


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet"])
def test_local_files(tmp_path, kind):
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pytest.importorskip("pyarrow").Table.from_pylist(ROWS), path)
    else:
        path.write_text(lines(ROWS) if kind == "jsonl" else json.dumps({"data": ROWS}))
    found = read_source({"file": str(path), "lines": [1]}, downloads=tmp_path)
    where = "rows.jsonl:2" if kind == "jsonl" else f"rows.{kind}, row 2"
    assert found.rows == [(where, ROWS[1])]


def test_local_files_that_are_none(tmp_path):
    for name, text, reason in [
        ("rows.txt", "a,b", "is not .jsonl, .json, .csv, .tsv or .parquet"),
        ("rows.json", "{", "is not readable"),
        ("rows.json", '{"rows": 3}', "neither a list"),
        ("rows.parquet", "no", "is not readable"),
    ]:
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=reason):
            read_source({"file": str(tmp_path / name)}, downloads=tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        read_source({"file": str(tmp_path / "nowhere.jsonl")}, downloads=tmp_path)


def test_environment_variables_in_paths(monkeypatch):
    monkeypatch.setenv("SOME_FOLDER", "there")
    assert str(expand("${SOME_FOLDER}/a.jsonl")) == "there/a.jsonl"
    monkeypatch.delenv("SOME_FOLDER")
    with pytest.raises(UserError, match="needs the environment variable SOME_FOLDER"):
        expand("${SOME_FOLDER}/a.jsonl")


def test_a_hub_set_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    with pytest.raises(UserError, match="hub data set nobody/nothing train cannot be read"):
        read_source({"hub": "nobody/nothing", "split": "train"}, downloads=tmp_path)


def task_folder(tmp_path, **extra):
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
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(yaml.safe_dump(task | extra))
    return {"task": "tiny_task", "include_path": str(folder)}


@pytest.mark.slow
def test_a_task_gives_the_prompts_of_the_evaluation(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    source = task_folder(tmp_path)
    found = read_source(source, downloads=tmp_path)
    first = found.rows[0][1]
    assert first == Document("Answer.\n\nQ: q 0?\nA:", (" yes 0", " no 0"), 0)
    task = _task_manager(include_path=source["include_path"]).load(["tiny_task"])["tasks"][
        "tiny_task"
    ]
    task.build_all_requests(limit=None, rank=0, world_size=1)
    asked = [tuple(request.args) for request in task.instances]
    documents = [document for _, document in found.rows]
    assert asked == [(d.prompt, choice) for d in documents for choice in d.choices]
    with pytest.raises(UserError, match="lm-eval task tiny_task has no train documents"):
        read_source({**source, "split": "train"}, downloads=tmp_path)
    with pytest.raises(UserError, match="lm-eval has no task 'nothing_like_it'"):
        read_source({**source, "task": "nothing_like_it"}, downloads=tmp_path)
