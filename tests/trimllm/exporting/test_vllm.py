"""Stock vLLM computes what transformers computes, by the modeling file beside the weights."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import torch
from exports import DROPPED, byte_tokenizer, needs_vllm, saved, tiny_model
from models import tiny

import trimllm
from trimllm.base import environments, files
from trimllm.base.errors import UserError
from trimllm.checkpoint import load_tokenizer, store
from trimllm.exporting import evidence, reference
from trimllm.exporting.ask import WORKERS, Asker
from trimllm.exporting.formats import vllm_python
from trimllm.exporting.makers import Vllm
from trimllm.exporting.sizes import expected_bytes
from trimllm.sublayers import drop

ROOT = Path(__file__).parents[3]
# vLLM's attention on CPUs wants heads as wide as these.
WIDE = {"head_dim": 32}


def model_of(family: str, dropped: str) -> torch.nn.Module:
    if family == "opt":
        model = tiny("opt", vocab_size=340, max_position_embeddings=256, hidden_size=128)
        return drop(model, DROPPED[dropped])
    return tiny_model(family, DROPPED[dropped], **WIDE)


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize(
    "family, dropped",
    [
        ("llama", "unpaired"),
        ("llama", "first block"),
        ("llama", "all attention"),
        ("mistral", "last mlp"),
        ("qwen2", "first attention"),
        ("opt", "unpaired"),
    ],
)
def test_vllm_computes_what_transformers_does(tmp_path: Path, family: str, dropped: str) -> None:
    model = model_of(family, dropped)
    path = saved(model, tmp_path / "checkpoint")
    tokenizer = load_tokenizer(path)
    asked = evidence.question(tokenizer, evidence.TEXTS[:3], 100)
    ours, theirs = reference.answer(model, tokenizer, asked), Asker(asked, tmp_path).vllm(path)
    found = evidence.judge("vllm", theirs, ours, texts=asked.texts, ends=[])
    assert found["largest_difference"] < 1e-4 and found["places"] == 18
    assert len(theirs.greedy) == 64 and theirs.engine["name"] == "vLLM"


@needs_vllm
@pytest.mark.slow
def test_an_export_is_the_checkpoint_proven(tmp_path: Path) -> None:
    path = saved(model_of("llama", "unpaired"), tmp_path / "trimmed")
    made = trimllm.export(path, "vllm", texts=evidence.TEXTS[:1])
    assert made == tmp_path / "trimmed-vllm"
    files.verify_manifest(made)
    assert (made / "model.safetensors").read_bytes() == (path / "model.safetensors").read_bytes()
    found = files.read_json(made / "export.json")
    assert found["proof"]["engine"]["vllm"] and found["proof"]["greedy_differs_at"] is None
    assert found["bytes"]["total"] == expected_bytes(path, "vllm")
    assert "--trust-remote-code" in (made / "README.md").read_text()


@needs_vllm
@pytest.mark.slow
def test_one_that_computes_something_else_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Vllm.write

    def damaged(self: Vllm) -> dict[str, int]:
        found = write(self)
        code = self.directory / "modeling_trimllm.py"
        text = code.read_text()
        assert "+ self.mlp(normed)" in text
        code.write_text(text.replace("+ self.mlp(normed)", "+ 1.1 * self.mlp(normed)"))
        return found

    monkeypatch.setattr(Vllm, "write", damaged)
    path = saved(model_of("llama", "unpaired"), tmp_path / "trimmed")
    with pytest.raises(UserError, match="as vllm is broken and was not kept: log-prob"):
        trimllm.export(path, "vllm", texts=evidence.TEXTS[:1])
    assert [one.name for one in tmp_path.iterdir()] == ["trimmed"]


def test_a_missing_environment_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(model_of("llama", "unpaired"), tmp_path / "trimmed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environments, "__file__", str(tmp_path / "a/b/c/environments.py"))
    monkeypatch.delenv("TRIMLLM_VLLM_PYTHON", raising=False)
    with pytest.raises(UserError, match="vLLM is not installed: run `make vllm-env`"):
        trimllm.export(path, "vllm")
    monkeypatch.setenv("TRIMLLM_VLLM_PYTHON", sys.executable)
    with pytest.raises(UserError, match="No module named 'vllm'.*was not kept") as error:
        trimllm.export(path, "vllm")
    assert "\n" not in str(error.value)
    assert vllm_python() == Path(sys.executable)
    assert [one.name for one in tmp_path.iterdir()] == ["trimmed"]


def test_a_compressed_checkpoint_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMLLM_VLLM_PYTHON", sys.executable)
    path = saved(model_of("llama", "unpaired"), tmp_path / "trimmed")
    config = files.read_json(path / "config.json")
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    files.write_json(path / "config.json", config)
    (path / files.MANIFEST).unlink()
    with pytest.raises(UserError, match="is compressed; export to vLLM what it was compressed"):
        trimllm.export(path, "vllm")


def test_an_older_checkpoint_learns_of_its_base_model(tmp_path: Path) -> None:
    path = saved(model_of("llama", "unpaired"), tmp_path / "old")
    config = files.read_json(path / "config.json")
    del config["auto_map"]["AutoModel"]
    files.write_json(path / "config.json", config)
    model, _ = trimllm.load(path, verify=False)
    (tmp_path / "new").mkdir()
    store.write(model, byte_tokenizer(), tmp_path / "new")
    told = files.read_json(tmp_path / "new/config.json")["auto_map"]
    assert told["AutoModel"] == "modeling_trimllm.TrimLlamaModel"


def test_the_worker_imports_nothing_that_its_environment_lacks() -> None:
    locked = {"vllm"}
    for line in (ROOT / "envs/vllm/requirements.lock").read_text().splitlines():
        locked.add(line.partition("==")[0].strip().replace("-", "_"))
    for node in ast.walk(ast.parse((WORKERS / "vllm_worker.py").read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert {name.partition(".")[0] for name in names} <= locked | sys.stdlib_module_names
