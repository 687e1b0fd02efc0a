"""Saved and loaded models compute the same, with trimllm and with stock transformers alone."""

import json

import pytest
import torch
from models import FAMILIES, SOME, logits_of, some_ids, tiny, word_tokenizer
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from shared import run_python
from transformers import AutoModelForCausalLM, AutoTokenizer

import trimllm
from trimllm import checkpoint
from trimllm.base import files, kernels
from trimllm.base.errors import UserError
from trimllm.base.precision import rounded_copy
from trimllm.sublayers import Unit, drop, units

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
def test_stock_transformers_loads_it_in_a_fresh_process(saved, way, tmp_path):
    environment, families = {"HF_MODULES_CACHE": str(tmp_path)}, ("llama", "opt")
    if way == "remote code":
        environment["PYTHONPATH"], families = "", FAMILIES
    words = [word for family in families for word in (family, saved[family])]
    printed = run_python(FRESH, way, *words, **environment)
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("[")]
    for family, (module, logits) in zip(families, lines, strict=True):
        assert module == ("trimllm" if way == "trimllm" else "transformers_modules")
        expected = logits_of(tiny(family, dropped=SOME), torch.arange(3, 14)[None])[0, -1]
        torch.testing.assert_close(torch.tensor(logits), expected, rtol=1e-5, atol=1e-5)


def test_transformers_saves_and_peft_adapts_a_trimmed_model(saved, tmp_path):
    model, ids = trimllm.load(saved["llama"])[0], torch.arange(3, 14)[None]
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert trimllm.units(again) == trimllm.units(model)
    assert logits_of(again, ids).equal(expected := logits_of(model, ids))
    kernels.prepare()  # peft imports gptqmodel where that is installed
    adapted = get_peft_model(again, LoraConfig(target_modules=["q_proj", "down_proj"]))
    adapted(ids, labels=ids).loss.backward()
    learn = [p.grad for name, p in adapted.named_parameters() if "lora_B" in name]
    assert learn and all(gradient.any() for gradient in learn)
    torch.testing.assert_close(logits_of(adapted.merge_and_unload(), ids), expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_save_and_load_keep_logits_units_and_tokenizer(saved, family):
    model, tokenizer = trimllm.load(saved[family])
    expected = tiny(family, dropped=SOME)
    with safe_open(saved[family] / "model.safetensors", "pt") as store:
        stored = sum(store.get_tensor(name).numel() for name in store.keys())  # noqa: SIM118
    assert stored == sum(p.numel() for p in expected.parameters())
    assert tokenizer.encode("w5 w9") == word_tokenizer().encode("w5 w9")
    for more in ([], [Unit(3, "mlp")]):
        drop(model, more), drop(expected, more)
        assert torch.equal(logits_of(model, some_ids()), logits_of(expected, some_ids()))
        assert units(model) == units(expected)


def test_storage_in_bfloat16_rounds_once(tmp_path):
    model = tiny("llama")
    checkpoint.save(model, word_tokenizer(), tmp_path / "a", dtype="bfloat16")
    loaded, half = (checkpoint.load(tmp_path / "a", dtype=one)[0] for one in ("float32", "auto"))
    for name, value in loaded.named_parameters():
        assert torch.equal(value, model.get_parameter(name).bfloat16().float()), name
    assert model.dtype == torch.float32 and half.dtype == torch.bfloat16
    rounded = rounded_copy(loaded, half.dtype)
    assert torch.equal(logits_of(half, some_ids()), logits_of(rounded, some_ids()))


def test_equal_models_have_equal_bytes(saved, tmp_path):
    """Whatever the folder, and whether the tokenizer was read with a network or without, which
    transformers notes."""
    hashes = [files.verify_manifest(saved["llama"])["files"]]
    for local in (True, False):
        tokenizer = AutoTokenizer.from_pretrained(saved["llama"], local_files_only=local)
        path = checkpoint.save(tiny("llama", dropped=SOME), tokenizer, tmp_path / f"{local}")
        hashes.append(files.verify_manifest(path)["files"])
        assert AutoTokenizer.from_pretrained(path).get_vocab() == tokenizer.get_vocab()
    assert hashes[0] == hashes[1] == hashes[2] and "modeling_trimllm.py" in hashes[0]


def test_what_is_no_checkpoint_is_not_replaced(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    for other in (tmp_path, notes):
        with pytest.raises(UserError, match="exists and is no checkpoint; choose another name"):
            checkpoint.save(tiny("llama"), word_tokenizer(), other)
    assert notes.read_text() == "mine" and [*tmp_path.iterdir()] == [notes]


def test_a_changed_shortened_or_missing_file_is_noticed(tmp_path):
    path = checkpoint.save(tiny("llama"), word_tokenizer(), tmp_path / "model")
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
