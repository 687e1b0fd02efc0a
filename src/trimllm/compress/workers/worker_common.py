"""What the workers of external engines share. Runs on transformers 4.51, without trimllm.

A worker is called as `python worker.py job.json`. The job's keys: dense (a stock checkpoint in
float32), blocks (calibration tokens: lists of ids, equally long), output (an empty directory for
the quantized weights and their config.json), report (a JSON file, written at the end), group_size,
device ("cpu" or "cuda"), seed. The last line that a worker prints tells what went wrong.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

Job = dict[str, Any]


def main(engine: str, quantize: Callable[[Job], tuple[Any, dict[str, Any]]]) -> None:
    """Read the job, quantize, and write the checkpoint and what to report of it.

    Args:
        quantize: takes the job; returns the quantized model and its quantization_config.
    """
    start = time.perf_counter()
    job = read_json(Path(sys.argv[1]))
    torch.manual_seed(job["seed"])
    if job["device"] != "cpu" and not torch.cuda.is_available():
        sys.exit("error: device cuda was asked for, but torch sees no GPU; use device cpu")
    write_checkpoint(job, *quantize(job))
    report = {
        "engine": engine,
        "versions": {name: version(name) for name in (engine, "torch", "transformers")},
        "seconds": round(time.perf_counter() - start, 3),
        "tokens": sum(map(len, job["blocks"])),
    }
    Path(job["report"]).write_text(json.dumps(report), encoding="utf-8")


def older_config(config: dict[str, Any]) -> dict[str, Any]:
    """config.json in the words of transformers 4: rope_theta, rope_scaling, torch_dtype.

    Left as it is, the rotary base inside `rope_parameters` would be overlooked and silently
    replaced by 10000.
    """
    rope = config.pop("rope_parameters", None) or {}
    if "rope_theta" in rope:
        config["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = rope
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    return config


def load_dense(job: Job, engine: str, families: dict[str, Any]) -> Any:
    """The dense model on the CPU, of a family that the engine has a class for.

    float32 on a CPU, where half precision is slow; float16 for a GPU, as both engines expect.
    """
    config = older_config(read_json(Path(job["dense"]) / "config.json"))
    family = config.pop("model_type")
    if family not in families:
        sys.exit(f"error: {engine} knows no {family} models; choose another engine")
    model = AutoModelForCausalLM.from_pretrained(
        job["dense"],
        config=AutoConfig.for_model(family, **config),
        torch_dtype=torch.float32 if job["device"] == "cpu" else torch.float16,
        local_files_only=True,
        use_safetensors=True,
    )
    model.config.use_cache = False
    return model.eval()


def write_checkpoint(job: Job, model: Any, quantization: dict[str, Any]) -> None:
    """Write the quantized weights beside the dense checkpoint's own config.

    The engines' own writers would store an older config, and one of them a zero bias for every
    layer. Weights that were not quantized are float32, as they came.
    """
    dense, output = Path(job["dense"]), Path(job["output"])
    with safe_open(dense / "model.safetensors", "pt") as weights:
        names = set(weights.keys())
    state = {}
    for name, tensor in model.state_dict().items():
        if name in names:
            state[name] = tensor.float().contiguous().clone()
        elif name.endswith((".qweight", ".qzeros", ".scales", ".g_idx")):
            state[name] = tensor.contiguous()
    lost = [n for n in names - state.keys() if n.removesuffix("weight") + "qweight" not in state]
    if lost:
        sys.exit(f"error: the engine lost the weights {sorted(lost)[:3]}")
    broken = [n for n, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if broken:
        sys.exit(f"error: quantization gave values that are not finite: {broken[:3]}")
    save_file(state, output / "model.safetensors", metadata={"format": "pt"})
    config = read_json(dense / "config.json") | {"quantization_config": quantization}
    (output / "config.json").write_text(json.dumps(config), encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
