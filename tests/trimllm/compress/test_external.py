"""External engines: found or named as missing, whole output or one clear line."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path

import pytest
import torch
from models import logits_of, word_tokenizer
from safetensors import safe_open
from transformers import LlamaConfig, LlamaForCausalLM

from trimllm.base import environments
from trimllm.base.errors import UserError
from trimllm.compress import CompressSettings, engines
from trimllm.compress.job import equal_blocks

ROOT = Path(__file__).resolve().parents[3]
HOW = {"group_size": 32}
TEXTS = [" ".join(f"w{(7 * i + j * j) % 97}" for j in range(30)) for i in range(8)]
BLOCKS = equal_blocks([word_tokenizer()(text).input_ids for text in TEXTS], 64)


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small LLaMA with an unusual rotary base; its first attention and last MLP are dead."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=101,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        rope_parameters={"rope_type": "default", "rope_theta": 50.0},
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config)
    for unit in (model.model.layers[0].self_attn, model.model.layers[2].mlp):
        for parameter in unit.parameters():
            parameter.data.zero_()
    path = tmp_path_factory.mktemp("dense") / "model"
    model.save_pretrained(path)
    word_tokenizer().save_pretrained(path)
    return path


def python_that(tmp_path: Path, body: str) -> Path:
    """A stand-in for an environment's Python: a program that sees a worker's arguments."""
    program = tmp_path / "python"
    program.write_text(f"#!{sys.executable}\nimport json, os, sys\n{body}\n")
    program.chmod(0o755)
    return program


def refused(dense: Path, workspace: Path, python: Path) -> str:
    """The one line of a run that fails."""
    with pytest.raises(UserError) as error:
        settings = CompressSettings(**HOW, python=python)
        engines.run_engine("autoawq", dense, BLOCKS, workspace, settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_environment_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environments, "__file__", str(tmp_path / "a/b/c/environments.py"))
    monkeypatch.delenv("TRIMLLM_AUTOAWQ_PYTHON", raising=False)
    with pytest.raises(UserError, match="autoawq is not installed: run `make envs`"):
        engines.engine_python("autoawq")
    half_made = tmp_path / ".envs/autoawq/bin"
    half_made.mkdir(parents=True)
    (half_made / "python").symlink_to(sys.executable)
    with pytest.raises(UserError, match="autoawq is not installed"):
        engines.engine_python("autoawq")
    monkeypatch.setenv("TRIMLLM_AUTOAWQ_PYTHON", "/nowhere/python")
    with pytest.raises(UserError, match="/nowhere/python cannot be run"):
        engines.engine_python("autoawq")


def test_unknown_engine():
    with pytest.raises(UserError, match="choose from autoawq, auto-gptq"):
        engines.engine_python("awq")


def test_an_environment_without_the_engine_is_named(dense, tmp_path):
    message = refused(dense, tmp_path, Path(sys.executable))
    assert "No module named 'awq'" in message and "run `make envs`" in message


def test_a_dying_worker_is_one_line_with_its_cause(dense, tmp_path):
    python = python_that(tmp_path, "sys.exit('something\\nerror: the cause')")
    message = refused(dense, tmp_path, python)
    assert message == "the engine autoawq failed (exit status 1): the cause"


def test_a_killed_worker_says_so(dense, tmp_path):
    python = python_that(tmp_path, "print('so far', file=sys.stderr, flush=True); os.abort()")
    assert "killed by signal 6" in refused(dense, tmp_path, python)


REPORT = "json.dump({}, open(json.load(open(sys.argv[2]))['report'], 'w'))"


@pytest.mark.parametrize("body", ["", "print('done')", REPORT])
def test_success_without_report_or_checkpoint_is_refused(dense, tmp_path, body):
    python = python_that(tmp_path, body)
    assert "ended without a checkpoint" in refused(dense, tmp_path, python)


def test_a_worker_sees_a_clean_environment(dense, tmp_path, monkeypatch):
    """Its own packages only, offline, no GPU where the CPU was asked for."""
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    names = ["PYTHONPATH", "HF_HUB_OFFLINE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"]
    python = python_that(tmp_path, f"sys.exit('error: %s' % [os.environ.get(n) for n in {names}])")
    assert "[None, '1', '1', '']" in refused(dense, tmp_path, python)


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_a_worker_imports_nothing_that_its_environment_lacks(engine):
    """Standard library, what its locks pin, the engine, and what lies beside it."""
    folder, worker = engines.ENGINES[engine]
    locked = {"auto_gptq" if engine == "auto-gptq" else "awq", "worker_common"}
    for line in (ROOT / f"envs/{folder}/requirements.lock").read_text().splitlines():
        locked.add(line.partition("==")[0].strip().replace("-", "_"))
    for file in (worker, "worker_common.py"):
        for node in ast.walk(ast.parse((engines.WORKERS / file).read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            roots = {name.partition(".")[0] for name in names}
            assert roots <= locked | sys.stdlib_module_names, (file, roots)


@pytest.mark.parametrize("name", ["autoawq", "auto_gptq"])
def test_conda_file_has_the_pins_of_the_lock(name):
    lines = (ROOT / f"envs/{name}/requirements.lock").read_text().splitlines()
    locked = [line for line in lines if not line.startswith("#")]
    conda = (ROOT / f"envs/{name}.yaml").read_text().splitlines()
    assert [line.split("- ")[1] for line in conda if "==" in line] == locked
    engine = (ROOT / f"envs/{name}/engine.lock").read_text().split()[-1]
    assert engine in (ROOT / f"envs/{name}.post-deploy.sh").read_text().split()


def dequantized(path: Path, name: str, method: str) -> torch.Tensor:
    """(outputs, inputs) weights of a stored int4 layer, by the published layout of its format."""
    with safe_open(path / "model.safetensors", "pt") as weights:
        get = {
            part: weights.get_tensor(f"{name}.{part}") for part in ("qweight", "qzeros", "scales")
        }
    shifts = torch.arange(0, 32, 4)
    if method == "awq":
        order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])  # where value i of eight lies

        def unpack(packed: torch.Tensor) -> torch.Tensor:
            return ((packed[:, :, None] >> shifts[order]) & 15).flatten(1)

        q, zeros = unpack(get["qweight"]), unpack(get["qzeros"])
    else:
        q = ((get["qweight"][:, None, :] >> shifts[None, :, None]) & 15).flatten(0, 1)
        zeros = ((get["qzeros"][:, :, None] >> shifts) & 15).flatten(1) + 1
    size = q.shape[0] // get["scales"].shape[0]
    spread = [part.repeat_interleave(size, 0) for part in (zeros, get["scales"].float())]
    return ((q - spread[0]) * spread[1]).T


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "method"), [("autoawq", "awq"), ("auto-gptq", "gptq")])
def test_engine_quantizes_a_model_with_dead_units(dense, tmp_path, engine, method):
    """The stored int4 weights, unpacked into a stock model, still compute what the model did."""
    try:
        engines.engine_python(engine)
    except UserError as error:
        pytest.skip(str(error))
    settings = CompressSettings(**HOW)
    output, report = engines.run_engine(engine, dense, BLOCKS, tmp_path, settings)
    assert report["engine"] == engine and report["tokens"] == 240
    assert json.loads((output / "config.json").read_text())["quantization_config"]["bits"] == 4
    model = LlamaForCausalLM.from_pretrained(dense)
    ids = word_tokenizer()(TEXTS, return_tensors="pt").input_ids
    wanted = logits_of(model, ids)
    with safe_open(output / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
        state = {name: weights.get_tensor(name) for name in names if name.endswith(".weight")}
    assert not any(name.endswith(".bias") for name in names)
    for name in names:
        if name.endswith(".qweight"):
            layer = name.removesuffix(".qweight")
            state[f"{layer}.weight"] = dequantized(output, layer, method)
    assert state.keys() == model.state_dict().keys() - {"lm_head.weight"}
    # Dead units stay exactly dead.
    assert not state["model.layers.0.self_attn.o_proj.weight"].any()
    assert not state["model.layers.2.mlp.down_proj.weight"].any()
    model.load_state_dict(state, strict=False)
    got = logits_of(model, ids)
    assert (got - wanted).norm() < 0.3 * wanted.norm()
