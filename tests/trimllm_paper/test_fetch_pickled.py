"""Models whose weights are `pytorch_model.bin` alone, as OPT's on the hub: read without running."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import tiny, word_tokenizer
from transformers import AutoModelForCausalLM

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.fetch import models

REVISION = "a" * 40


@pytest.fixture
def opt(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A tiny OPT as OPT is published, in the mirror: one pickle; and its weights."""
    folder = tmp_path / "mirror/facebook/opt"
    model = tiny("opt")
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    state = model.state_dict()
    # The published files name weights from the decoder on, as the bare model does.
    pickled = {key.removeprefix("model."): tensor for key, tensor in state.items()}
    torch.save(pickled, folder / "pytorch_model.bin")
    return folder, state


def fetched(folder: Path, target: Path, **source: Any) -> dict[str, str]:
    target.mkdir()
    how = {"downloads": folder, "mirror": folder.parents[1], "storage_dtype": "float32"}
    return models.fetch_model(
        {"hub": "facebook/opt", "revision": REVISION, **source}, target, **how
    )


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: files.sha256_of(path) for path in folder.glob("*.bin")}


def assert_same(target: Path, state: dict[str, torch.Tensor]) -> None:
    stored = AutoModelForCausalLM.from_pretrained(target).state_dict()
    assert stored.keys() == state.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in state.items())
    assert not list(target.glob("*.bin")) and (target / "model.safetensors").is_file()


def test_a_pickle_is_converted_once_to_the_same_weights(opt, tmp_path: Path) -> None:
    folder, state = opt
    known = hashes(folder)
    told = fetched(folder, tmp_path / "target", sha256=known)
    assert_same(tmp_path / "target", state)
    assert told["pickles"] == f"pytorch_model.bin:{known['pytorch_model.bin']}"
    assert not [*tmp_path.glob("target.unpacked*")]


def test_pickles_in_parts(opt, tmp_path: Path) -> None:
    folder, state = opt
    whole = torch.load(folder / "pytorch_model.bin", weights_only=True)
    names = sorted(whole)
    for part, some in enumerate((names[::2], names[1::2]), 1):
        path = folder / f"pytorch_model-0000{part}-of-00002.bin"
        torch.save({name: whole[name] for name in some}, path)
    (folder / "pytorch_model.bin").unlink()
    (folder / "pytorch_model.bin.index.json").write_text("{}")
    fetched(folder, tmp_path / "target", sha256=hashes(folder))
    assert_same(tmp_path / "target", state)


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda path, here: torch.save({"a": Bomb(here / "hacked")}, path), "more than tensors"),
        (lambda path, here: torch.save([torch.ones(1)], path), "other than weights by name"),
        (lambda path, here: torch.save({"a": 1}, path), "other than weights by name"),
        (lambda path, here: path.write_bytes(path.read_bytes()[:-900]), "cannot be read"),
        (lambda path, here: torch.save({"decoder.x": torch.ones(1)}, path), "lacks weights: "),
    ],
)
def test_what_is_no_pickle_of_weights_is_refused(opt, tmp_path: Path, spoil, said: str) -> None:
    folder, _ = opt
    spoil(folder / "pytorch_model.bin", tmp_path)
    with pytest.raises(UserError, match=said) as refused:
        fetched(folder, tmp_path / "target", sha256=hashes(folder))
    assert "\n" not in str(refused.value) and not (tmp_path / "hacked").exists()
    assert not any((tmp_path / "target").iterdir()) and not [*tmp_path.glob("target.unpacked*")]


def test_a_pickle_of_unknown_or_other_contents_is_not_opened(opt, tmp_path: Path) -> None:
    folder, _ = opt
    torch.save({"a": Bomb(tmp_path / "hacked")}, folder / "pytorch_model.bin")
    found = hashes(folder)["pytorch_model.bin"]
    with pytest.raises(UserError, match=f"no sha256 of it is known; .*{found}"):
        fetched(folder, tmp_path / "one")
    with pytest.raises(UserError, match=f"has sha256 {found}, not 0000"):
        fetched(folder, tmp_path / "other", sha256={"pytorch_model.bin": "0" * 64})
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("safe", [False, True])
def test_the_pinned_revision_tells_the_sha256(
    opt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, safe: bool
) -> None:
    """As the hub's client hands it over; of weights in both forms the pickles are not fetched."""
    folder, state = opt
    if safe:
        (folder / "model.safetensors").touch()
    large = [*folder.glob("*.bin"), *folder.glob("*.safetensors")]
    siblings = [
        SimpleNamespace(
            rfilename=path.name,
            lfs=SimpleNamespace(sha256=files.sha256_of(path)) if path in large else None,
        )
        for path in folder.iterdir()
    ]
    asked = []

    class Api:
        def model_info(self, name: str, **how: Any) -> Any:
            asked.append((name, how["revision"]))
            return SimpleNamespace(siblings=siblings)

    def snapshot(name: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        copied = tmp_path / "snapshot"
        copied.mkdir()
        for pattern in allow_patterns:
            for path in folder.glob(pattern):
                shutil.copy(path, copied)
        return str(copied)

    monkeypatch.setattr(models, "HfApi", Api)
    monkeypatch.setattr(models, "snapshot_download", snapshot)
    target = tmp_path / "target"
    target.mkdir()
    source = {"hub": "facebook/opt", "revision": REVISION}
    how = {"downloads": tmp_path, "storage_dtype": "float32"}
    if safe:
        with pytest.raises(UserError, match="cannot be loaded"):  # it is empty
            models.fetch_model(source, target, **how)
        assert not [*(tmp_path / "snapshot").glob("*.bin")]
    else:
        models.fetch_model(source, target, **how)
        assert_same(target, state)
    assert asked == [("facebook/opt", REVISION)] * 2
