"""A streamed model scans to the same bits, and never holds more than it may."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from models import FAMILIES, logits_of, random_documents, some_ids, tiny, word_tokenizer

from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.precision import rounded_copy
from trimllm.scanning import Scan, scan
from trimllm.score import forward, score
from trimllm.sublayers import Unit, drop, unit_layers, unit_parameters, units
from trimllm.sublayers.modeling_trimllm import update

DROPPED = [Unit(0, "attention"), Unit(1, "mlp"), Unit(2, "attention"), Unit(4, "mlp")]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Path]:
    """A plain and a trimmed checkpoint of every family."""
    root = tmp_path_factory.mktemp("streamed")
    paths = {}
    for family in FAMILIES:
        for trimmed in (False, True):
            model = drop(tiny(family), DROPPED) if trimmed else tiny(family)
            path = root / f"{family}{trimmed}"
            paths[family, trimmed] = checkpoint.save(model, word_tokenizer(), path)
    return paths


def told(found: Scan) -> Scan:
    """A scan without its time."""
    found.seconds = 0.0
    return found


def unit_bytes(model: torch.nn.Module) -> list[int]:
    return [sum(p.nbytes for p in weights) for weights in unit_parameters(model).values()]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_streamed_scan_has_the_same_bits_under_a_cap_on_its_weights(
    saved: dict, family: str, trimmed: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved[family, trimmed]
    (whole, _), tokenizer = checkpoint.load(path), word_tokenizer()
    if dtype != torch.float32:
        whole = rounded_copy(whole, dtype)
    expected = told(scan(whole, tokenizer, random_documents(7), row_budget=150))
    largest = max(unit_bytes(whole))
    for place, prefetch in (("disk", False), ("disk", True), ("host", True), ("device", True)):
        model, _ = checkpoint.load_streamed(path, dtype=dtype, place=place, prefetch=prefetch)
        assert units(model) == units(whole)
        stream = checkpoint.stream_of(model)
        there, peaks = [], []

        def watched(*given, model=model, there=there, peaks=peaks, **more):
            # what the model really holds at the moment in which a unit runs, and what waits
            held = [p for weights in unit_parameters(model).values() for p in weights]
            there.append(sum(p.nbytes for p in held if not p.is_meta))
            ahead = checkpoint.stream_of(model)._ahead
            waiting = ahead[2].result() if ahead else []
            peaks.append(there[-1] + sum(tensor.nbytes for tensor in waiting))
            return update(*given, **more)

        monkeypatch.setattr(forward, "update", watched)
        assert told(scan(model, tokenizer, random_documents(7), row_budget=150)) == expected
        monkeypatch.undo()
        total, times = sum(unit_bytes(whole)), len(there) // len(units(model))
        assert times > 1
        if place == "device":
            assert max(there) == max(peaks) == stream.bytes_read == total
        else:
            assert max(there) == largest
            assert max(peaks) <= (1 + prefetch) * largest
            assert stream.bytes_read == total if place == "host" else stream.bytes_read >= 2 * total
        stream.release()
        assert stream._ahead is None and not stream.held
        assert all(p.is_meta for weights in unit_parameters(model).values() for p in weights)


@pytest.mark.parametrize("family", FAMILIES)
def test_units_dropped_from_a_streamed_model_are_dropped_and_settling_makes_it_whole(
    saved: dict, family: str
) -> None:
    (whole, _), tokenizer = checkpoint.load(saved[family, True]), word_tokenizer()
    model, _ = checkpoint.load_streamed(saved[family, True])
    more = [Unit(1, "attention"), Unit(3, "attention")]
    drop(model, more)
    drop(whole, more)
    assert score(model, tokenizer, random_documents(5)) == score(
        whole, tokenizer, random_documents(5)
    )
    settled = checkpoint.materialize(model, torch.float32)
    assert checkpoint.stream_of(settled) is None
    assert torch.equal(logits_of(settled, some_ids()), logits_of(whole, some_ids()))
    tied = whole.config.tie_word_embeddings
    head, embeddings = settled.get_output_embeddings(), settled.get_input_embeddings()
    assert (head.weight is embeddings.weight) == tied
    # an ordinary model stays as it is, and both are saved as the same files
    assert checkpoint.materialize(settled, torch.bfloat16).dtype == torch.float32
    for name, one in (("a", settled), ("b", whole)):
        checkpoint.save(one, tokenizer, saved[family, True].parent / family / name)
    first, second = (
        files.verify_manifest(saved[family, True].parent / family / name)["files"] for name in "ab"
    )
    assert first == second


def test_what_cannot_be_streamed_is_told(saved: dict, tmp_path: Path) -> None:
    path = saved["llama", False]
    with pytest.raises(UserError, match="cannot wait on 'tape'"):
        checkpoint.load_streamed(path, place="tape")
    with pytest.raises(UserError, match="cannot be copied"):
        copy.deepcopy(checkpoint.load_streamed(path)[0])
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoint.load_streamed(tmp_path)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_bytes((path / "config.json").read_bytes())
    with pytest.raises(UserError, match="no \\*.safetensors"):
        checkpoint.load_streamed(bare)
    (bare / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:-8])
    with pytest.raises(UserError, match="cannot be read"):
        checkpoint.load_streamed(bare)
    # weights of another model: the trimmed one has fewer blocks
    trimmed = saved["llama", True] / "model.safetensors"
    (bare / "model.safetensors").write_bytes(trimmed.read_bytes())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (bare / name).write_bytes((path / name).read_bytes())
    model, tokenizer = checkpoint.load_streamed(bare)
    with pytest.raises(UserError, match="the weights lack model.layers"):
        scan(model, tokenizer, random_documents(2))


def test_streaming_follows_the_order_of_the_units(saved: dict) -> None:
    """Prefetched weights are the ones that run next, whatever was dropped in between."""
    model, tokenizer = checkpoint.load_streamed(saved["llama", False])
    first = score(model, tokenizer, random_documents(3))
    dropped = unit_layers(model)[0][0]
    drop(model, [dropped])
    whole = drop(checkpoint.load(saved["llama", False])[0], [dropped])
    assert (
        score(model, tokenizer, random_documents(3))
        == score(whole, tokenizer, random_documents(3))
        != first
    )
