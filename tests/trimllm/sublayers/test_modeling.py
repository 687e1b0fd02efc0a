"""The modeling file: vLLM's count of attentions, one's own family.

`checkpoint/test_store.py` loads it in fresh processes, with and without trimllm.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from models import FAMILIES, some_ids, tiny
from transformers import AutoModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from trimllm.base.errors import UserError
from trimllm.sublayers import Unit, drop, modeling_trimllm, register_named
from trimllm.sublayers.modeling_trimllm import decoder_of

# Two blocks of the four that are left have no attention, one has no MLP.
DROPPED = [Unit(0, "mlp"), Unit(1, "mlp"), Unit(2, "attention"), Unit(3, "attention")]


@pytest.mark.parametrize("family", FAMILIES)
def test_vllm_counts_attentions(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The name by which vLLM has a model call its attention, for one that runs here.
    attentions, masks = ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS
    monkeypatch.setitem(attentions._global_mapping, "vllm", sdpa_attention_forward)
    monkeypatch.setitem(masks._global_mapping, "vllm", sdpa_mask)
    expected = drop(tiny(family), DROPPED).model
    config = copy.deepcopy(expected.config)
    assert config.num_hidden_layers == 4
    config._attn_implementation = "vllm"
    for _ in range(2):  # as vLLM builds it: once to look at, once to keep
        model = AutoModel.from_config(config, dtype=torch.float32).eval()
        assert config.num_hidden_layers == 3
    layers = decoder_of(model).layers
    numbers = [layer.self_attn.layer_idx for layer in layers if layer.self_attn is not None]
    assert len(layers) == 4 and numbers == [0, 1, 2]
    model.load_state_dict(expected.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(*(m(some_ids(), use_cache=False)[0] for m in (model, expected)))
    with pytest.raises(ValueError, match="one pipeline stage"):
        layers[3] = torch.nn.Identity()


OWN = '''
"""Toy: LLaMA by another name."""

from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaDecoderLayer as ToyDecoderLayer
from transformers.models.llama.modeling_llama import LlamaModel


class ToyConfig(LlamaConfig):
    model_type = "toy"


class ToyModel(LlamaModel):
    config_class = ToyConfig


class ToyForCausalLM(LlamaForCausalLM):
    config_class = ToyConfig


AutoConfig.register("toy", ToyConfig)
AutoModelForCausalLM.register(ToyConfig, ToyForCausalLM)
'''
ROW = """
from trimllm.sublayers import Family
row = Family("toy", "Toy", module="modeling_toy")
"""
SCAN = """
import sys, trimllm, torch
from transformers import AutoModelForCausalLM
from modeling_toy import ToyConfig, ToyForCausalLM
from models import ROTARY, logits_of, random_documents, some_ids, word_tokenizer
model, documents = ToyForCausalLM(ToyConfig(**ROTARY)).eval(), random_documents(6)
found = trimllm.scan(model, word_tokenizer(), documents)
unit = min(found.sublayers)
trimllm.drop(model, [unit])
left = trimllm.scan(model, word_tokenizer(), documents)
assert abs(left.baseline.likelihood - found.sublayers[unit].likelihood) < 1e-4
path = trimllm.save(model, word_tokenizer(), sys.argv[1])
loaded, _ = trimllm.load(path)
assert torch.equal(logits_of(loaded, some_ids()), logits_of(model, some_ids()))
torch.save(logits_of(model, some_ids()), sys.argv[1] + ".logits")
"""
PLAIN = """
import sys, torch
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
logits = torch.load(sys.argv[1] + ".logits")
generator = torch.Generator().manual_seed(1)
assert torch.equal(model(torch.randint(3, 101, (2, 11), generator=generator)).logits, logits)
assert type(model).__name__ == "TrimToyForCausalLM" and "trimllm" not in sys.modules
"""


def test_a_family_of_ones_own_is_a_row_named_by_the_environment(tmp_path: Path) -> None:
    (tmp_path / "modeling_toy.py").write_text(OWN)
    (tmp_path / "toy_row.py").write_text(ROW)
    folders = [str(tmp_path), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"TRIMLLM_ADAPTERS": "toy_row:row"}
    environment |= {"PYTHONPATH": os.pathsep.join(folders), "HF_MODULES_CACHE": str(tmp_path)}
    for code in (SCAN, PLAIN):
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "saved")],
            capture_output=True, text=True, env=environment,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr


def test_names_of_rows() -> None:
    assert register_named("llama") == "llama"
    with pytest.raises(UserError, match="is no row of a model family"):
        register_named("trimllm.sublayers:register")
    with pytest.raises(UserError, match="can be imported"):
        register_named("nowhere:row")
    with pytest.raises(AttributeError, match="TrimNothing"):
        modeling_trimllm.TrimNothing  # noqa: B018
