"""A model family from outside of the source tree: one module, registered, is all that it takes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models import ROTARY, logits_of, random_documents, some_ids, word_tokenizer

import trimllm
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.sublayers import Unit, adapters, register_named
from trimllm.train import TrainSettings

MODULE = '''
"""Toy: LLaMA by another name."""

from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from trimllm.sublayers import register
from trimllm.sublayers.families.llama import LlamaAdapter
from trimllm.sublayers.modeling_trimllm import TrimLlamaDecoderLayer, TrimModel


class ToyConfig(LlamaConfig):
    model_type = "toy"


class ToyForCausalLM(LlamaForCausalLM):
    config_class = ToyConfig
    config: ToyConfig


class TrimToyConfig(ToyConfig):
    model_type = "trimllm_toy"
    units: list | None = None
    original_num_hidden_layers: int | None = None


class TrimToyForCausalLM(TrimModel, ToyForCausalLM):
    config_class = TrimToyConfig
    config: TrimToyConfig
    layer_class = TrimLlamaDecoderLayer


AutoConfig.register("toy", ToyConfig)
AutoModelForCausalLM.register(ToyConfig, ToyForCausalLM)
adapter = LlamaAdapter(TrimToyForCausalLM)
register(adapter)
'''


def test_a_family_of_ones_own_is_scanned_dropped_trimmed_saved_and_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "_ADAPTERS", dict(adapters._ADAPTERS))
    (tmp_path / "toy_family.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    toy = importlib.import_module("toy_family")
    torch.manual_seed(0)
    model = toy.ToyForCausalLM(toy.ToyConfig(**ROTARY)).eval()
    tokenizer, documents = word_tokenizer(), random_documents(6)

    found = trimllm.scan(model, tokenizer, documents)
    for unit in (Unit(1, "attention"), Unit(3, "mlp")):
        one = toy.ToyForCausalLM(toy.ToyConfig(**ROTARY))
        one.load_state_dict(model.state_dict())
        left = trimllm.scan(trimllm.drop(one.eval(), [unit]), tokenizer, documents)
        assert left.baseline_likelihood == pytest.approx(found.likelihood[unit], abs=1e-4)

    settings = TrainSettings(learning_rate=1e-3, dtype="float32")
    options = {"train": documents, "calibration": documents, "settings": settings}
    for epoch in trimllm.trim(model, tokenizer, step=3, until=3, ratio=1.0, **options):
        dropped = epoch.dropped
    assert dropped == 3 and type(model) is toy.TrimToyForCausalLM

    path = trimllm.save(model, tokenizer, tmp_path / "saved")
    assert (path / "toy_family.py").read_text() == MODULE
    mapped = files.read_json(path / "config.json")["auto_map"]
    assert mapped["AutoModelForCausalLM"] == "toy_family.TrimToyForCausalLM"
    loaded, _ = trimllm.load(path)
    assert trimllm.units(loaded) == trimllm.units(model) and len(trimllm.units(model)) == 7
    assert torch.equal(logits_of(loaded, some_ids()), logits_of(model, some_ids()))

    monkeypatch.setenv("TRIMLLM_VLLM_PYTHON", sys.executable)
    with pytest.raises(UserError, match="TrimToyForCausalLM names no `base_class`"):
        trimllm.export(path, "vllm")


def test_a_family_that_is_named_is_imported_with_the_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "named_family.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setenv("TRIMLLM_ADAPTERS", "named_family:adapter")
    code = "from trimllm import sublayers; print(sublayers.supported_families())"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "'toy'" in told.stdout, told.stderr
    with pytest.raises(UserError, match="names no adapter"):
        register_named("trimllm.sublayers:register")
    with pytest.raises(UserError, match="can be imported"):
        register_named("nowhere:adapter")
    assert register_named("llama") == "llama"
