"""Result files: taken only as they were written, whole, and where they belong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from configurations import ROOT
from hypothesis import given
from hypothesis import strategies as st
from result_files import (
    Evaluations,
    TimingFiles,
    change,
    places,
    plain_chain,
    rewrite,
    write_chain,
    write_training,
)

from trimllm.base.errors import UserError
from trimllm_paper import kept_runs
from trimllm_paper.records import DataReport, Epoch, Evaluation, Record, Throughput, Training

Case = tuple[type[Record], Path]
# Each as its writer writes it.
WRITERS: dict[type[Record], Callable[[Path], Path]] = {
    Evaluation: lambda root: Evaluations(root).add("trim_paper/drop_30", 75, kept=30),
    Epoch: lambda root: write_chain(root, plain_chain())[1],
    Training: lambda root: write_training(root, "full_ft", 4.0),
    Throughput: lambda root: TimingFiles(root).add("trim_half/keep_50", 20, kept=22),
}


@pytest.fixture(params=WRITERS, ids=lambda kind: kind.__name__)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return request.param, WRITERS[request.param](tmp_path)


def test_what_is_written_is_read(written: Case) -> None:
    kind, path = written
    record = kind.read(path)
    before = path.read_bytes()
    record.write(path)
    assert path.read_bytes() == before
    content = json.loads(before)
    assert content["schema"] == 1 and content == record.content()
    assert not list(path.parent.glob(".*"))


@pytest.mark.parametrize("kind", [Evaluation, Epoch])
@given(data=st.data())
def test_no_value_can_be_changed_unnoticed(
    tmp_path_factory: pytest.TempPathFactory, kind: type[Record], data: st.DataObject
) -> None:
    """Whichever it is; how the file is laid out does not matter."""
    path = WRITERS[kind](tmp_path_factory.mktemp("records"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content, separators=(",", ":")))
    record = kind.read(path)
    change(content, data.draw(st.sampled_from([p for p in places(content) if p != ("schema",)])))
    path.write_text(json.dumps(content))
    assert content != record.content()
    with pytest.raises(UserError, match=r"json was changed after it was written"):
        kind.read(path)


def test_a_moved_file_is_refused(written: Case) -> None:
    kind, path = written
    moved = Path(str(path).replace("/tiny/", "/other/").replace("random-llama-1b", "other"))
    moved.parent.mkdir(parents=True)
    path.rename(moved)
    with pytest.raises(UserError, match="says model '.*' but lies under 'other'"):
        kind.read(moved)
    with pytest.raises(UserError, match="no path of a result"):
        kind.read(moved.rename(path.parents[1] / "file.txt"))


@pytest.mark.parametrize(
    "kind, changes, message",
    [
        (Evaluation, {"tested": None}, "tested: Field required; delete it and run again"),
        (Evaluation, {"n": "many"}, "n: Input should be a valid integer"),
        (Throughput, {"hardware": "a100"}, "says hardware 'a100' but lies under 'cpu-mine'"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    tmp_path: Path, kind: type[Record], changes: dict[str, Any], message: str
) -> None:
    path = WRITERS[kind](tmp_path)
    rewrite(path, **changes)
    with pytest.raises(UserError) as refused:
        kind.read(path)
    assert message in str(refused.value) and str(path) in str(refused.value)
    assert "\n" not in str(refused.value) and "run again" in str(refused.value)


def test_reports_of_prepared_domains(tmp_path: Path) -> None:
    kept = ROOT / "results/reference/data/sciq/report.json"
    content, report = kept_runs.read_json(kept), DataReport.read(kept)
    assert report.model_dump(mode="json", exclude_unset=True) == content
    path = tmp_path / "report.json"
    path.write_text(json.dumps(content | {"splits": {"train": {}}}))
    with pytest.raises(UserError, match=f"{path}: splits.train.documents: Field required; delete"):
        DataReport.read(path)
