"""What the workers of external engines share. Runs on transformers 4.51, without trimllm.

A worker's arguments: dense (folder of a stock checkpoint in float32), rows (calibration tokens:
lists of ids of one length), output (an empty folder for the quantized weights and their
config.json), group_size, device ("cpu" or "cuda"), seed. Its `facts` report on the run.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM


class Quantizing:
    """A worker; a subclass names its `engine` and the `families` that it knows, and quantizes."""

    engine: str
    families: dict[str, Any]
    model: Any

    def __init__(
        self,
        dense: str,
        rows: list[list[int]],
        output: str,
        group_size: int,
        device: str,
        seed: int,
    ) -> None:
        start = time.perf_counter()
        torch.manual_seed(seed)
        self.rows, self.group_size, self.device = rows, group_size, device
        self.model = self._load(Path(dense))
        self._write(Path(dense), Path(output), self.quantize())
        self.facts = {
            "engine": self.engine,
            "versions": {name: version(name) for name in (self.engine, "torch", "transformers")},
            "seconds": round(time.perf_counter() - start, 3),
            "tokens": sum(map(len, rows)),
        }

    def quantize(self) -> dict[str, Any]:
        """Quantize `self.model` in place; returns its quantization_config."""
        raise NotImplementedError

    def _load(self, dense: Path) -> Any:
        """The dense model on the CPU: float32, or float16 for a GPU, as both engines expect."""
        config = older_config(json.loads((dense / "config.json").read_text()))
        family = config.pop("model_type")
        if family not in self.families:
            sys.exit(f"{self.engine} knows no {family} models; choose another engine")
        model = AutoModelForCausalLM.from_pretrained(
            dense,
            config=AutoConfig.for_model(family, **config),
            torch_dtype=torch.float32 if self.device == "cpu" else torch.float16,
            local_files_only=True,
            use_safetensors=True,
        )
        model.config.use_cache = False
        return model.eval()

    def _write(self, dense: Path, output: Path, quantization: dict[str, Any]) -> None:
        """Write the quantized weights beside the dense checkpoint's own config.

        The engines' own writers store an older config, and one of them a zero bias for every layer.
        """
        with safe_open(dense / "model.safetensors", "pt") as weights:
            names = set(weights.keys())
        state = {}
        for name, tensor in self.model.state_dict().items():
            if name in names:
                state[name] = tensor.float().contiguous().clone()
            elif name.endswith((".qweight", ".qzeros", ".scales", ".g_idx")):
                state[name] = tensor.contiguous()
        save_file(state, output / "model.safetensors", metadata={"format": "pt"})
        config = json.loads((dense / "config.json").read_text())
        config["quantization_config"] = quantization
        (output / "config.json").write_text(json.dumps(config))


def older_config(config: dict[str, Any]) -> dict[str, Any]:
    """config.json in the keys of transformers 4: rope_theta, rope_scaling, torch_dtype.

    The rotary base inside `rope_parameters` would silently be replaced by 10000.
    """
    rope = config.pop("rope_parameters", None) or {}
    if "rope_theta" in rope:
        config["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = rope
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    return config
