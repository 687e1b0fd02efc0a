"""The modeling file: vLLM's count of attentions, one's own family.

`checkpoint/test_store.py` loads it in fresh processes, with and without trimllm.
"""

import copy
import os

import pytest
import torch
from models import DROPPED, FAMILIES, some_ids, tiny
from shared import SOURCE, TESTS, run_python
from transformers import AutoModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from trimllm.sublayers.modeling_trimllm import decoder_of


@pytest.mark.parametrize("family", FAMILIES)
def test_vllm_counts_attentions(family, monkeypatch):
    # The name by which vLLM has a model call its attention, for one that runs here.
    attentions, masks = ALL_ATTENTION_FUNCTIONS, ALL_MASK_ATTENTION_FUNCTIONS
    monkeypatch.setitem(attentions._global_mapping, "vllm", sdpa_attention_forward)
    monkeypatch.setitem(masks._global_mapping, "vllm", sdpa_mask)
    # Two blocks of the four that are left have no attention, one has no MLP.
    expected = tiny(family, dropped=DROPPED["unpaired"]).model
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


ROW = """
from trimllm.sublayers import Family
row = Family("seed_oss", "SeedOss", module="transformers.models.seed_oss.modeling_seed_oss")
"""
SCAN = """
import sys, trimllm, torch
from transformers import SeedOssConfig, SeedOssForCausalLM
from models import ROTARY, logits_of, random_documents, some_ids, word_tokenizer
model = SeedOssForCausalLM(SeedOssConfig(**ROTARY, head_dim=8)).eval()
documents = random_documents(6)
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
assert type(model).__name__ == "TrimSeedOssForCausalLM" and "trimllm" not in sys.modules
"""


def test_a_family_of_ones_own_is_a_row_named_by_the_environment(tmp_path):
    (tmp_path / "own_row.py").write_text(ROW)
    folders = os.pathsep.join(map(str, (tmp_path, SOURCE, TESTS)))
    environment = {"TRIMLLM_ADAPTERS": "own_row:row", "PYTHONPATH": folders}
    for code in (SCAN, PLAIN):
        run_python(code, tmp_path / "saved", HF_MODULES_CACHE=str(tmp_path), **environment)
