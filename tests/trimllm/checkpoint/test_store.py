"""Saved and loaded models compute the same, with trimllm and with stock transformers alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models import FAMILIES, logits_of, some_ids, tiny, word_tokenizer
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

import trimllm
from trimllm import checkpoint
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.precision import rounded_copy
from trimllm.sublayers import Unit, drop, units

DROPPED = [Unit(0, "attention"), Unit(1, "mlp"), Unit(2, "attention"), Unit(4, "mlp")]
FRESH = """
import json, sys
remote = sys.argv[1] == "remote code"
if not remote:
    import trimllm.auto
import torch
from transformers import AutoModel, AutoModelForCausalLM
for family, path in zip(sys.argv[2::2], sys.argv[3::2]):
    base = AutoModel.from_pretrained(path, trust_remote_code=remote)
    assert type(base).is_backend_compatible()  # vLLM's condition
    if remote:
        loaded = {name.split(".")[2] for name in sys.modules
                  if name.startswith("transformers.models.") and ".modeling_" in name}
        assert family in loaded and not loaded - {"auto", *sys.argv[2::2]}, loaded
    model = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=remote)
    ids = torch.arange(3, 14)[None]
    with torch.no_grad():
        logits = model(ids).logits[0, -1].tolist()
    kw = dict(max_new_tokens=6, min_new_tokens=6, do_sample=False, attention_mask=ids > 0)
    assert model.generate(ids, **kw).tolist() == model.generate(ids, use_cache=False, **kw).tolist()
    print(json.dumps([type(model).__module__.split(".")[0], logits]))
assert ("trimllm" in sys.modules) != remote
"""


@pytest.mark.parametrize("way", ["trimllm", "remote code"])
def test_stock_transformers_loads_it_in_a_fresh_process(
    saved: dict, way: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    source = str(Path(trimllm.__file__).parents[1])
    environment["PYTHONPATH"] = source if way == "trimllm" else ""
    paths = [str(word) for pair in saved.items() for word in pair]
    run = subprocess.run(
        [sys.executable, "-P", "-c", FRESH, way, *paths],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("[")]
    for family, (module, logits) in zip(saved, lines, strict=True):
        assert module == ("trimllm" if way == "trimllm" else "transformers_modules")
        expected = logits_of(drop(tiny(family), DROPPED), torch.arange(3, 14)[None])[0, -1]
        torch.testing.assert_close(torch.tensor(logits), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_save_and_load_keep_logits_units_and_tokenizer(saved: dict, family: str) -> None:
    model, tokenizer = trimllm.load(saved[family])
    expected = drop(tiny(family), DROPPED)
    with safe_open(saved[family] / "model.safetensors", "pt") as store:
        stored = sum(store.get_tensor(name).numel() for name in store.keys())  # noqa: SIM118
    assert stored == sum(p.numel() for p in expected.parameters())
    assert tokenizer.encode("w5 w9") == word_tokenizer().encode("w5 w9")
    for more in ([], [Unit(3, "mlp")]):
        drop(model, more), drop(expected, more)
        assert torch.equal(logits_of(model, some_ids()), logits_of(expected, some_ids()))
        assert units(model) == units(expected)


def test_storage_in_bfloat16_rounds_once(tmp_path: Path) -> None:
    model = tiny("llama")
    checkpoint.save(model, word_tokenizer(), tmp_path / "a", dtype="bfloat16")
    loaded, half = (checkpoint.load(tmp_path / "a", dtype=one)[0] for one in ("float32", "auto"))
    for name, value in loaded.named_parameters():
        assert torch.equal(value, model.get_parameter(name).bfloat16().float()), name
    assert model.dtype == torch.float32 and half.dtype == torch.bfloat16
    rounded = rounded_copy(loaded, half.dtype)
    assert torch.equal(logits_of(half, some_ids()), logits_of(rounded, some_ids()))


def test_equal_models_have_equal_bytes(saved: dict, tmp_path: Path) -> None:
    """Whatever the folder, and whether the tokenizer was read with a network or without, which
    transformers notes."""
    hashes = [files.verify_manifest(saved["llama"])["files"]]
    for local in (True, False):
        tokenizer = AutoTokenizer.from_pretrained(saved["llama"], local_files_only=local)
        path = checkpoint.save(drop(tiny("llama"), DROPPED), tokenizer, tmp_path / f"{local}")
        hashes.append(files.verify_manifest(path)["files"])
        assert AutoTokenizer.from_pretrained(path).get_vocab() == tokenizer.get_vocab()
    assert hashes[0] == hashes[1] == hashes[2] and "modeling_trimllm.py" in hashes[0]


def test_what_is_no_checkpoint_is_not_replaced(tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    for other in (tmp_path, notes):
        with pytest.raises(UserError, match="exists and is no checkpoint; choose another name"):
            checkpoint.save(tiny("llama"), word_tokenizer(), other)
    assert notes.read_text() == "mine" and [*tmp_path.iterdir()] == [notes]


def test_a_changed_shortened_or_missing_file_is_noticed(tmp_path: Path) -> None:
    path = checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "model")
    assert len({file.stat().st_mode for file in path.iterdir()}) == 1  # the umask's
    weights = path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    for changed in (content, content[:-8]):
        weights.write_bytes(changed)
        with pytest.raises(UserError, match=r"model\.safetensors was changed"):
            checkpoint.load(path)
    with pytest.raises(UserError, match="cannot be loaded"):
        checkpoint.load(path, verify=False)
    weights.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        checkpoint.load(path)
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoint.load(tmp_path)


def test_packed_weights_are_not_saved_again(tmp_path: Path) -> None:
    path = checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "dense")
    packed = AutoModelForCausalLM.from_pretrained(
        path, quantization_config=BitsAndBytesConfig(load_in_8bit=True)
    )
    with pytest.raises(UserError, match=r"packed weights \(bitsandbytes.*\) cannot be saved"):
        checkpoint.save(packed, word_tokenizer(), tmp_path / "again")
    assert not (tmp_path / "again").exists()
