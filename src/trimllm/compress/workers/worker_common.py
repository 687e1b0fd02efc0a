"""What the workers of external engines share. Runs on transformers 4.51, without trimllm.

A worker is called as `python worker.py job.json` and prints one JSON object as the last line of
its standard output; whatever an engine prints goes to standard error. The job's keys:
dense (a stock checkpoint), output (an existing directory), texts (JSON lines of {"text": ...}),
bits, group_size, max_tokens, threads, device ("cpu" or "cuda"), seed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

# Never taken along into the output: weights, and what describes them.
NOT_COPIED = ("config.json", "manifest.json", "model.safetensors.index.json")


class WorkerError(Exception):
    """A failure with a cause that one line can tell."""


def main(engine: str, quantize: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read the job, prepare the process, quantize, and print the result as one line of JSON.

    Args:
        engine: name of the engine's package.
        quantize: takes the job, writes job["output"], returns what to report.
    """
    answer = _claim_stdout()
    start = time.perf_counter()
    try:
        job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
        _prepare_process(job)
        result = quantize(job)
    except WorkerError as error:
        sys.exit(f"error: {error}")
    except Exception as error:
        traceback.print_exc()
        sys.exit(f"error: {type(error).__name__}: {' '.join(str(error).split())}")
    result |= {
        "engine": engine,
        "versions": {name: version(name) for name in (engine, "torch", "transformers")},
        "seconds": round(time.perf_counter() - start, 3),
    }
    print(json.dumps(result), file=answer, flush=True)


def _claim_stdout() -> TextIO:
    """Standard output for the answer alone: everything else that is printed goes to stderr."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return answer


def _prepare_process(job: dict[str, Any]) -> None:
    """Threads, seed and device. Engines take a GPU wherever they see one, so it is hidden first."""
    if job["device"] == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    torch.set_num_threads(job["threads"])
    torch.manual_seed(job["seed"])
    if job["device"] != "cpu" and not torch.cuda.is_available():
        raise WorkerError("device cuda was asked for, but torch sees no GPU; use device cpu")


@contextlib.contextmanager
def readable_checkpoint(dense: str) -> Iterator[str]:
    """A view of a checkpoint of transformers 5 that transformers 4.51 reads rightly.

    Only config.json differs. Left as it is, the rotary base inside `rope_parameters` would be
    overlooked and silently replaced by 10000.
    """
    with tempfile.TemporaryDirectory(prefix="dense-") as folder:
        for file in Path(dense).resolve().iterdir():
            if file.suffix == ".safetensors" or file.name == "model.safetensors.index.json":
                (Path(folder) / file.name).symlink_to(file)
        config = older_config(read_json(Path(dense) / "config.json"))
        (Path(folder) / "config.json").write_text(json.dumps(config), encoding="utf-8")
        yield folder


def older_config(config: dict[str, Any]) -> dict[str, Any]:
    """config.json in the words of transformers 4: rope_theta, rope_scaling, torch_dtype."""
    config = dict(config)
    rope = dict(config.pop("rope_parameters", None) or {})
    if "rope_theta" in rope:
        config["rope_theta"] = rope.pop("rope_theta")
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = rope
    if "dtype" in config:
        config["torch_dtype"] = config.pop("dtype")
    return config


def load_dense(job: dict[str, Any]) -> Any:
    """The dense model on the CPU, in a type that its device is fast and exact at.

    float32 on a CPU, where half precision is slow; float16 for a GPU, as both engines expect.
    """
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.float32 if job["device"] == "cpu" else torch.float16
    with readable_checkpoint(job["dense"]) as folder:
        model = AutoModelForCausalLM.from_pretrained(
            folder, torch_dtype=dtype, local_files_only=True, use_safetensors=True
        )
    model.config.use_cache = False
    return model.eval()


def token_blocks(job: dict[str, Any]) -> list[list[int]]:
    """The calibration texts as blocks of token ids, equally long, at most max_tokens each.

    Texts are cut at max_tokens, joined, and split so that fewer tokens than blocks are lost.
    The tokenizer is built from tokenizer.json alone: its class in tokenizer_config.json
    (`TokenizersBackend`) is unknown before transformers 5.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(job["dense"]) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    lines = Path(job["texts"]).read_text(encoding="utf-8").split("\n")
    texts = [json.loads(line)["text"] for line in lines if line.strip()]
    ids = [i for text in texts for i in tokenizer.encode(text).ids[: job["max_tokens"]]]
    if not ids:
        raise WorkerError("the calibration texts hold no tokens; give real texts")
    count = -(-len(ids) // job["max_tokens"])
    length = len(ids) // count
    return [ids[i * length : (i + 1) * length] for i in range(count)]


def write_checkpoint(job: dict[str, Any], model: Any, quantization: dict[str, Any]) -> None:
    """Write the quantized model beside the dense checkpoint's own config and tokenizer.

    The engines' own writers would store an older config, and one of them a zero bias for every
    layer. Weights that were not quantized keep the type that they had in the dense checkpoint.
    """
    import torch
    from safetensors.torch import save_file

    dense, output = Path(job["dense"]), Path(job["output"])
    types = dense_types(dense)
    state = {}
    for name, tensor in model.state_dict().items():
        if name in types:
            state[name] = tensor.to(getattr(torch, types[name])).contiguous().clone()
        elif name.endswith((".qweight", ".qzeros", ".scales", ".g_idx")):
            state[name] = tensor.contiguous()
    missing = {name for name in types if name not in state and _quantized_as(name) not in state}
    if missing:
        raise WorkerError(f"the engine lost the weights {sorted(missing)[:3]}")
    broken = [n for n, t in state.items() if t.is_floating_point() and not t.isfinite().all()]
    if broken:
        raise WorkerError(f"quantization gave values that are not finite: {broken[:3]}")
    save_file(state, output / "model.safetensors", metadata={"format": "pt"})
    config = read_json(dense / "config.json") | {"quantization_config": quantization}
    (output / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    for file in dense.iterdir():
        if file.suffix in (".json", ".jinja", ".model", ".txt") and file.name not in NOT_COPIED:
            shutil.copyfile(file, output / file.name)


def _quantized_as(name: str) -> str:
    return name.removesuffix("weight") + "qweight"


def dense_types(dense: Path) -> dict[str, str]:
    """Type of every stored weight of a checkpoint, by name, in torch's words."""
    from safetensors import safe_open

    types = {}
    for file in sorted(dense.glob("*.safetensors")):
        with safe_open(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (safe_open is no dict)
                # One value tells the type; torch reads no more of the file than that.
                part = weights.get_slice(name)[:1]
                types[name] = str(part.dtype).removeprefix("torch.")
    if not types:
        raise WorkerError(f"{dense} holds no safetensors")
    return types


def read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
