"""`AutoModel` gives the trimmed base model; vLLM, which loads it, finds an attention an index."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from models import FAMILIES, some_ids, tiny, word_tokenizer
from transformers import AutoConfig, AutoModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from trimllm import checkpoint
from trimllm.base import files
from trimllm.sublayers import Unit, drop
from trimllm.sublayers.modeling_trimllm import decoder_of

# Two blocks of the four that are left have no attention, one has no MLP.
DROPPED = [Unit(0, "mlp"), Unit(1, "mlp"), Unit(2, "attention"), Unit(3, "attention")]

FRESH = """
import json, sys
import torch
from transformers import AutoModel
for path in sys.argv[1:]:
    model = AutoModel.from_pretrained(path, trust_remote_code=True)
    assert type(model).is_backend_compatible()
    with torch.no_grad():
        hidden = model(torch.arange(3, 14)[None]).last_hidden_state
    print(json.dumps(hidden[0].tolist()))
assert "trimllm" not in sys.modules
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("saved")
    return {
        family: checkpoint.save(drop(tiny(family), DROPPED), word_tokenizer(), root / family)
        for family in FAMILIES
    }


def expected(family: str, ids: torch.Tensor) -> torch.Tensor:
    """(rows, tokens, width) what the head is given."""
    with torch.no_grad():
        return drop(tiny(family), DROPPED).model(ids).last_hidden_state


def test_it_loads_where_trimllm_is_not_installed(saved: dict[str, Path], tmp_path: Path) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    environment["HF_MODULES_CACHE"] = str(tmp_path / "modules")
    run = subprocess.run(
        [sys.executable, "-c", FRESH, *saved.values()],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    for family, line in zip(saved, run.stdout.splitlines(), strict=True):
        hidden = torch.tensor(json.loads(line))
        torch.testing.assert_close(hidden, expected(family, torch.arange(3, 14)[None])[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_it_loads_by_its_registered_class(saved: dict[str, Path], family: str) -> None:
    names = files.read_json(saved[family] / "config.json")["auto_map"]
    model = AutoModel.from_pretrained(saved[family]).eval()
    assert names["AutoModel"] == f"modeling_trimllm.{type(model).__name__}"
    with torch.no_grad():
        assert torch.equal(model(some_ids()).last_hidden_state, expected(family, some_ids()))


@pytest.fixture
def vllm_attention() -> Iterator[None]:
    """The name by which vLLM has a model call its attention, for one that runs here."""
    ALL_ATTENTION_FUNCTIONS.register("vllm", sdpa_attention_forward)
    ALL_MASK_ATTENTION_FUNCTIONS.register("vllm", sdpa_mask)
    yield
    del ALL_ATTENTION_FUNCTIONS._global_mapping["vllm"]
    del ALL_MASK_ATTENTION_FUNCTIONS._global_mapping["vllm"]


@pytest.mark.parametrize("family", FAMILIES)
def test_vllm_counts_attentions(saved: dict[str, Path], family: str, vllm_attention: None) -> None:
    config = AutoConfig.from_pretrained(saved[family])
    assert config.num_hidden_layers == 4
    config._attn_implementation = "vllm"
    for _ in range(2):  # as vLLM builds it: once to look at, once to keep
        model = AutoModel.from_config(config, dtype=torch.float32).eval()
        assert config.num_hidden_layers == 3
    layers = decoder_of(model).layers
    numbers = [layer.self_attn.layer_idx for layer in layers if layer.self_attn is not None]
    assert len(layers) == 4 and numbers == [0, 1, 2]
    model.load_state_dict(drop(tiny(family), DROPPED).model.state_dict())
    with torch.no_grad():
        hidden = model(some_ids(), use_cache=False).last_hidden_state
    torch.testing.assert_close(hidden, expected(family, some_ids()))
    with pytest.raises(ValueError, match="one pipeline stage"):
        layers[3] = torch.nn.Identity()
