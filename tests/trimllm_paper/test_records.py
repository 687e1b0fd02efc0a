"""Result files: taken only as they were written, whole, and where they belong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chain_files import change, places, plain_chain, write_chain, write_training
from evaluation_files import Evaluations, rewrite
from hypothesis import given
from hypothesis import strategies as st
from timing_files import TimingFiles

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.records import (
    Compression,
    Epoch,
    Evaluation,
    Record,
    ScanFile,
    Throughput,
    Training,
)

Case = tuple[type[Record], Path]
COMPRESSION: dict[str, Any] = {
    **{"model": "tiny", "domain": "sciq", "recipe": "trim_paper/drop_30+awq_int4", "seed": 0},
    **{"criterion": "both", "ratio": 0.25, "step": 6, "provenance": {"config_hash": "c0ffee"}},
    **{"method": "awq_int4", "engine": "autoawq", "engine_version": None, "group_size": 64},
    "loss": {"dense": 1.0, "compressed": 1.1, "yardstick": 1.2},
    **{"yardstick": "round to nearest, int4", "margin": 0.25, "seconds": {"proof": 1.5}},
    **{"bytes": {"total": 50}, "bytes_dense": {"total": 100}},
    **{"calibration_texts": 80, "held_back_texts": 48, "engine_run": {"packages": ["one"]}},
}


def case(kind: str, root: Path) -> Case:
    """A file of a kind, as its writer writes it."""
    if kind == "evaluation":
        return Evaluation, Evaluations(root).add("trim_paper/drop_30", 75, kept=30)
    if kind == "epoch":
        return Epoch, write_chain(root, plain_chain())[1]
    if kind == "training":
        return Training, write_training(root, "full_ft", 4.0)
    if kind == "throughput":
        return Throughput, TimingFiles(root).add("trim_half/keep_50", 20, kept=22)
    if kind == "compression":
        path = root / "models/tiny/sciq/trim_paper/drop_30+awq_int4/compression.json"
        Compression(**COMPRESSION).write(path)
        return Compression, path
    path = root / "scans/tiny/sciq.json"
    ScanFile(model="tiny", domain="sciq", scan={"units": []}, provenance={}).write(path)
    return ScanFile, path


KINDS = ("evaluation", "epoch", "training", "throughput", "compression", "scan")


@pytest.fixture(params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    return case(request.param, tmp_path)


def test_what_is_written_is_read(written: Case, tmp_path: Path) -> None:
    kind, path = written
    record = kind.read(path)
    before = path.read_bytes()
    record.write(path)
    assert path.read_bytes() == before
    content = json.loads(before)
    assert content["schema"] == 1 and content == record.content()
    assert not list(path.parent.glob(".*"))


def test_a_missing_file_and_one_that_is_no_json(written: Case) -> None:
    kind, path = written
    path.write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        kind.read(path)
    path.write_text("[]")
    with pytest.raises(UserError, match="no JSON object; delete it and run again"):
        kind.read(path)
    path.unlink()
    with pytest.raises(UserError, match="does not exist"):
        kind.read(path)


def test_files_of_other_versions_say_so(written: Case) -> None:
    kind, path = written
    rewrite(path, schema=2)
    with pytest.raises(UserError, match=r"made by another version \(schema 2, not 1\)"):
        kind.read(path)
    rewrite(path, schema=None)
    with pytest.raises(UserError, match="before the redesign .* is called trim_paper now"):
        kind.read(path)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_no_value_can_be_changed_unnoticed(tmp_path_factory, kind: str, data: Any) -> None:
    """Whichever it is; how the file is laid out does not matter."""
    cls, path = case(kind, tmp_path_factory.mktemp("records"))
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content, separators=(",", ":")))
    record = cls.read(path)
    change(content, data.draw(st.sampled_from([p for p in places(content) if p != ("schema",)])))
    path.write_text(json.dumps(content))
    if json.loads(path.read_text()) != record.content():
        with pytest.raises(UserError, match=r"json was changed after it was written"):
            cls.read(path)


def test_a_file_without_a_seal_is_refused(written: Case) -> None:
    kind, path = written
    content = files.read_json(path)
    del content["content_sha256"]
    files.write_json(path, content)
    with pytest.raises(UserError, match="has no seal"):
        kind.read(path)


def test_each_missing_field_is_named(written: Case) -> None:
    kind, path = written
    needed = [name for name, field in kind.model_fields.items() if field.is_required()]
    content = path.read_text()
    for name in needed:
        path.write_text(content)
        rewrite(path, **{name: None})
        with pytest.raises(UserError) as told:
            kind.read(path)
        assert f"{path}: lacks `{name}`; delete it and run again" == str(told.value)


def test_a_moved_file_is_refused(written: Case) -> None:
    kind, path = written
    moved = Path(str(path).replace("/tiny/", "/other/").replace("random-llama-1b", "other"))
    moved.parent.mkdir(parents=True)
    path.rename(moved)
    with pytest.raises(UserError, match="says model '.*' but lies under 'other'"):
        kind.read(moved)
    with pytest.raises(UserError, match="no path of a result"):
        kind.read(moved.rename(path.parents[1] / "file.txt"))


Changes = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.mark.parametrize(
    "kind, changes, message",
    [
        ("evaluation", {"acc": 80.0}, "not the mean"),
        ("evaluation", {"n": 3}, "`correct` is not a list of n = 3 0s and 1s"),
        ("evaluation", {"correct": [2] * 200}, "`correct` is not a list"),
        ("evaluation", {"domain": "piqa"}, "says domain 'piqa' but lies under 'sciq'"),
        ("evaluation", {"recipe": "pretrained"}, "says recipe 'pretrained' but lies under"),
        ("evaluation", {"recipe": "trim_it_all"}, "'trim_it_all' is no recipe"),
        ("evaluation", {"task": "piqa"}, "says task 'piqa' but lies under 'sciq'"),
        ("evaluation", {"n": "200"}, "`n` is '200': input should be a valid integer"),
        ("evaluation", {"criterion": None}, "trim_paper/drop_30 was trimmed and lacks `criterion`"),
        ("evaluation", {"colour": 1}, "holds `colour`, which no such file has"),
        ("epoch", {"units_left": 5}, "3 units are gone, not as many as trim_paper/state_02 says"),
        ("epoch", {"units_dropped": [[0, "head"]]}, "units_dropped.0.1"),
        ("epoch", {"seconds": {"train": 1.0}}, "lacks `seconds.scan`"),
        ("training", {"passes": []}, "trained without a pass"),
        ("training", {"passes": [{"loss": 1.0}]}, "lacks `passes.0.documents`"),
        ("throughput", {"hardware": "a100"}, "says hardware 'a100' but lies under 'cpu-mine'"),
        ("throughput", {"compressor": "awq_int4"}, "compressor 'awq_int4' is not that of trim_h"),
        ("throughput", {"baseline": None}, "lacks one of `baseline` and `speedup`"),
        ("throughput", {"speedup": {"q1": 1.0, "q3": 1.0}}, "lacks `speedup.median`"),
        ("throughput", {"baseline": {"bytes": {"units": 1}}}, "lacks `baseline.bytes.total`"),
        ("compression", {"loss": {"dense": 1.0, "none": 1.0}}, "loss.none"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    tmp_path: Path, kind: str, changes: dict[str, Any], message: str
) -> None:
    cls, path = case(kind, tmp_path)
    rewrite(path, **changes)
    with pytest.raises(UserError) as told:
        cls.read(path)
    assert message in str(told.value) and str(path) in str(told.value)
    assert "\n" not in str(told.value) and "run again" in str(told.value)


def test_another_kind_is_refused(tmp_path: Path) -> None:
    """Neither read as, nor written where, something else belongs."""
    _, path = case("scan", tmp_path)
    with pytest.raises(UserError, match="lacks"):
        Evaluation.read(path)
    record = Evaluation.read(case("evaluation", tmp_path)[1])
    with pytest.raises(UserError, match="another kind of result, not of evaluation"):
        record.write(path)
    with pytest.raises(UserError, match="says domain 'sciq' but lies under 'piqa'"):
        record.write(tmp_path / "eval/tiny/piqa/trim_paper/drop_30/sciq.json")


def test_means_of_free_answers_are_those_of_their_documents(evaluations: Evaluations) -> None:
    path = evaluations.add_free("full_ft", 25, 60, 0.5)
    answers = files.read_json(path)["answers"]
    rewrite(path, answers=answers | {"token_f1": 61.0})
    with pytest.raises(UserError, match="token_f1 61.0 is not the mean of n = 4 documents"):
        Evaluation.read(path)
    rewrite(path, answers=answers | {"exact_match": 50.0})
    with pytest.raises(UserError, match="exact_match 50.0 is not acc 25.0"):
        Evaluation.read(path)
