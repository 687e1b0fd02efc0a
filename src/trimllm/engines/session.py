"""Full and trimmed models in one engine: by format one session of `throughput.session`.

Ratios are within a format: what trimming gains is no matter of how fast engines or kernels are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from trimllm.base.errors import UserError
from trimllm.base.workers import environment
from trimllm.engines.formats import FORMATS, LLAMA, TRANSFORMERS, require
from trimllm.exporting.formats import split_variant, vllm_python
from trimllm.exporting.gguf_file import bytes_of, entries
from trimllm.exporting.proof import vllm_environment
from trimllm.sublayers import original_units, units
from trimllm.throughput.result import Protocol
from trimllm.throughput.session import Entry, entry, timed
from trimllm.throughput.sizes import kv_bytes_per_token, prefill_operations, weight_bytes
from trimllm.throughput.subject import Subject

WORKERS = Path(__file__).parent / "workers"
GPU_SHARE = 0.9
"""Of a GPU's memory, what the models of a session may take together; vLLM's own default for one."""


@dataclass(frozen=True)
class Model:
    """A model in a format.

    Attributes:
        recipe: its name.
        format: one of `FORMATS`.
        path: what the engine loads: a folder, or a GGUF file.
        checkpoint: the dense checkpoint that it was made of.
        proof: of an export, how far it is from transformers; recorded as it is.
    """

    recipe: str
    format: str
    path: str
    checkpoint: str
    proof: dict[str, Any] | None = None


@dataclass(frozen=True)
class Setting:
    """How all models of a measurement run.

    Attributes:
        prompts: token ids of so many texts as the largest batch has, all of one length.
        protocol: of each session; its `prompt` is that length.
    """

    prompts: Sequence[Sequence[int]]
    protocol: Protocol
    threads: int = 1
    device: str = "cpu"
    dtype: str = "bfloat16"
    trust_remote_code: bool = False


def prompts(tokenizer: Any, texts: Iterable[str], count: int, length: int) -> list[list[int]]:
    """So many stretches of token ids out of texts, end to end and over again if they are few.

    Raises `UserError` for texts without a token.
    """
    ids = [token for text in texts for token in tokenizer(text).input_ids]
    if not ids:
        raise UserError("the held-back texts hold no token; give longer texts")
    ids *= -(-count * length // len(ids))
    return [ids[i * length : (i + 1) * length] for i in range(count)]


def measure(
    models: Sequence[Model], setting: Setting, say: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """Time models of one engine; the first of each format is the full one.

    Returns:
        `measured`, for each format, batch size and model `result.figures` with its `recipe`,
        `format`, `batch`, `proof`, `version`, `versions`, `kernel`, `precision` and the rates of
        its session; `engine`, `protocol`, `threads`, `device`, `machine`, `interleaved`.

    Raises:
        UserError: the engine is not installed, a model cannot be run, or too little memory.
    """
    engine = FORMATS[models[0].format]
    require(engine, setting.device)
    # The wheel of llama.cpp runs on the CPU.
    setting = replace(setting, device="cpu") if engine == LLAMA else setting
    measured, states, formats = [], [], groupby(models, key=lambda one: one.format)
    with tempfile.TemporaryDirectory() as workspace:
        for name, group in ((name, list(group)) for name, group in formats):
            session = timed(
                [_entry(one, setting, Path(workspace), GPU_SHARE / len(group)) for one in group],
                setting.protocol,
                device=setting.device,
                dtype=setting.dtype,
                threads=setting.threads,
                say=partial(_say, say, name),
            )
            rates = {key: value for key, value in session.items() if key.endswith("_per_second")}
            measured += [row | rates for row in session["measured"]]
            states.append(session["machine"])
    return {
        "engine": engine,
        "measured": measured,
        "interleaved": session["interleaved"],
        "protocol": session["protocol"],
        "threads": setting.threads,
        "device": setting.device,
        "machine": {"before": states[0]["before"], "after": states[-1]["after"]},
    }


def _say(say: Callable[[str], None], name: str, text: str) -> None:
    say(f"{name}, {text}")


def _entry(model: Model, setting: Setting, workspace: Path, share: float) -> Entry:
    """The process that runs a model in its share of a GPU's memory."""
    engine = FORMATS[model.format]
    about = {"recipe": model.recipe, "format": model.format, "proof": model.proof}
    generate, length = setting.protocol.generate, setting.protocol.prompt
    name, texts = f"{model.recipe} as {model.format}", [list(ids) for ids in setting.prompts]
    if engine == TRANSFORMERS:
        subject = Subject(
            checkpoint=model.path,
            dtype=setting.dtype,
            device=setting.device,
            threads=setting.threads,
            trust_remote_code=setting.trust_remote_code,
        )
        return replace(entry(subject, texts, generate), name=name, facts=about)
    facts = sizes(model, "float16" if engine == LLAMA else setting.dtype, length)
    batch = max(setting.protocol.batches)
    job: dict[str, Any] = {"path": model.path, "prompts": texts, "generate": generate}
    job |= {"batch": batch, "threads": setting.threads}
    if engine == LLAMA:
        variables = environment(setting.threads)
        return Entry(name, WORKERS / "llama_cpp.py", job, facts | about, variables=variables)
    # Twice what the texts take: vLLM assigns whole blocks.
    cache = 2 * facts["kv_bytes_per_token"] * batch * (length + generate + 1)
    job |= {"device": setting.device, "dtype": setting.dtype, "share": share}
    job["cache_bytes"] = max(1 << 28, cache)
    python, variables = str(vllm_python()), vllm_environment(workspace, setting.threads)
    return Entry(name, WORKERS / "vllm_worker.py", job, facts | about, python, variables)


def sizes(model: Model, dtype: str, prompt: int) -> dict[str, Any]:
    """Sublayers, bytes of weights and of a token in the cache, operations of a prompt: by the
    checkpoint's configuration and, of a GGUF file, its types. Nothing is loaded.

    Args:
        dtype: of the cache, and of the weights outside llama.cpp.
    """
    config = AutoConfig.from_pretrained(model.checkpoint, local_files_only=True)
    with torch.device("meta"):
        made = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    made.tie_weights()
    found = {
        "units_kept": len(units(made)),
        "units_total": original_units(made),
        "bytes": weight_bytes(made),
        "kv_bytes_per_token": kv_bytes_per_token(made),
        "prefill_operations": prefill_operations(made, prompt),
    }
    if FORMATS[model.format] == LLAMA:
        kind = split_variant(model.format)[1]
        # What stands in for missing sublayers counts among these.
        parts = {"units": 0, "embeddings": 0, "head": 0}
        for tensor in entries(made):
            names = {"token_embd.weight": "embeddings", "output.weight": "head"}
            parts[names.get(tensor.name, "units")] += bytes_of(tensor, kind)
        found |= {"bytes": parts, "precision": kind}
    return found
