"""Saved and loaded models compute the same, with trimllm, and with stock transformers alone."""

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
if sys.argv[1] == "trimllm":
    import trimllm.auto
import torch
from transformers import AutoModelForCausalLM
for path in sys.argv[2:]:
    model = AutoModelForCausalLM.from_pretrained(path, trust_remote_code=sys.argv[1] != "trimllm")
    ids = torch.arange(3, 14)[None]
    mask = torch.ones_like(ids)
    with torch.no_grad():
        logits = model(ids).logits[0, -1].tolist()
    kw = dict(max_new_tokens=6, min_new_tokens=6, do_sample=False, attention_mask=mask)
    assert model.generate(ids, **kw).tolist() == model.generate(ids, use_cache=False, **kw).tolist()
    print(json.dumps([type(model).__module__.split(".")[0], logits]))
if sys.argv[1] != "trimllm":
    assert "trimllm" not in sys.modules
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("saved")
    paths = {}
    for family in FAMILIES:
        model = drop(tiny(family), DROPPED)
        paths[family] = checkpoint.save(model, word_tokenizer(), root / family)
    return paths


@pytest.mark.parametrize("family", FAMILIES)
def test_save_and_load_keep_logits_units_and_tokenizer(saved: dict, family: str) -> None:
    model, tokenizer = trimllm.load(saved[family])
    expected = drop(tiny(family), DROPPED)
    assert torch.equal(logits_of(model, some_ids()), logits_of(expected, some_ids()))
    assert units(model) == units(expected)
    assert tokenizer.encode("w5 w9") == word_tokenizer().encode("w5 w9")
    model = drop(model, [Unit(3, "mlp")])
    expected = drop(expected, [Unit(3, "mlp")])
    assert torch.equal(logits_of(model, some_ids()), logits_of(expected, some_ids()))


@pytest.mark.parametrize("how", ["trimllm", "remote code"])
def test_stock_transformers_loads_it_in_a_fresh_process(
    saved: dict, how: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    source = str(Path(trimllm.__file__).parents[1])
    environment["PYTHONPATH"] = source if how == "trimllm" else ""
    run = subprocess.run(
        # -I would hide PYTHONPATH; -P keeps the working directory off the path
        [sys.executable, "-P", "-c", FRESH, how, *(str(saved[family]) for family in FAMILIES)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("[")]
    for family, (module, logits) in zip(FAMILIES, lines, strict=True):
        assert module == ("trimllm" if how == "trimllm" else "transformers_modules")
        expected = logits_of(drop(tiny(family), DROPPED), torch.arange(3, 14)[None])[0, -1]
        torch.testing.assert_close(torch.tensor(logits), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_surviving_weights_are_stored(saved: dict, family: str) -> None:
    with safe_open(saved[family] / "model.safetensors", "pt") as store:
        stored = sum(store.get_tensor(name).numel() for name in store.keys())  # noqa: SIM118
    model = drop(tiny(family), DROPPED)
    assert stored == sum(p.numel() for p in model.parameters())
    config = json.loads((saved[family] / "config.json").read_text())
    assert [tuple(unit) for unit in config["units"]] == units(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_storage_in_bfloat16_rounds_once(family: str, tmp_path: Path) -> None:
    model = tiny(family)
    checkpoint.save(model, word_tokenizer(), tmp_path / "a", dtype="bfloat16")
    loaded, _ = checkpoint.load(tmp_path / "a")
    for name, value in loaded.named_parameters():
        assert torch.equal(value, model.get_parameter(name).bfloat16().float()), name
    assert model.dtype == torch.float32
    half, _ = checkpoint.load(tmp_path / "a", dtype="auto")
    assert half.dtype == torch.bfloat16
    # read in bfloat16 or rounded to it: the same model
    assert torch.equal(
        logits_of(half, ids := some_ids()), logits_of(rounded_copy(loaded, half.dtype), ids)
    )


def test_equal_models_have_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        checkpoint.save(drop(tiny("llama"), DROPPED), word_tokenizer(), tmp_path / name)
    first, second = (files.verify_manifest(tmp_path / name)["files"] for name in "ab")
    assert first == second
    assert "modeling_trimllm.py" in first


def test_how_a_tokenizer_was_read_is_not_stored(tmp_path: Path) -> None:
    """transformers notes it, so that a run with a network would make other bytes."""
    checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "first")
    stored = []
    for local in (True, False):
        tokenizer = AutoTokenizer.from_pretrained(tmp_path / "first", local_files_only=local)
        checkpoint.save(tiny("llama"), tokenizer, tmp_path / f"{local}")
        stored.append(files.verify_manifest(tmp_path / f"{local}")["files"])
        again = AutoTokenizer.from_pretrained(tmp_path / f"{local}")
        assert again.get_vocab() == tokenizer.get_vocab()
    assert stored[0] == stored[1]


def test_a_changed_shortened_or_missing_file_is_noticed(tmp_path: Path) -> None:
    path = checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "model")
    weights = path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.safetensors was changed"):
        checkpoint.load(path)
    weights.write_bytes(content[:-8])
    with pytest.raises(UserError, match=r"model\.safetensors was changed"):
        checkpoint.load(path)
    (path / "manifest.json").rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="cannot be loaded"):
        checkpoint.load(path)
    (tmp_path / "elsewhere").rename(path / "manifest.json")
    weights.unlink()
    with pytest.raises(UserError, match=r"model\.safetensors is missing"):
        checkpoint.load(path)


def test_what_is_no_checkpoint_and_what_has_no_adapter_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        checkpoint.load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError, match="'gpt2' has no adapter"):
        checkpoint.load(tmp_path)


def test_packed_weights_are_not_saved_again(tmp_path: Path) -> None:
    path = checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "dense")
    packed = AutoModelForCausalLM.from_pretrained(
        path, quantization_config=BitsAndBytesConfig(load_in_8bit=True)
    )
    with pytest.raises(UserError, match=r"packed weights \(bitsandbytes.*\) cannot be saved"):
        checkpoint.save(packed, word_tokenizer(), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_failed_save_leaves_the_old_checkpoint_and_nothing_else(tmp_path: Path) -> None:
    path = checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "model")
    assert len({file.stat().st_mode for file in path.iterdir()}) == 1  # the umask's
    before = files.verify_manifest(path)
    with pytest.raises(TypeError):
        checkpoint.save(tiny("opt"), word_tokenizer(), path, record={"epoch": object()})
    assert files.verify_manifest(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
