"""Serve a GGUF file by llama.cpp: `trimllm serve results/export/.../gguf_q8_0`.

`trimllm serve results/my` serves the model that a run on one's own data chose.

The server is llama.cpp's own, from the wheel xllamacpp: chat in the browser at its address, and
OpenAI's API under /v1. Stock `llama-server -m FILE` serves the same file.
"""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

from trimllm.base.errors import UserError
from trimllm.base.machine import usable_cores
from trimllm.exporting.formats import LLAMA, require
from trimllm_paper.recipe import Paths
from trimllm_paper.records import Choice


def gguf_file(model: Path) -> Path:
    """GGUF file of a path: itself, in a folder, or of a run's choice. `UserError` if none."""
    chosen = sorted(model.glob("chosen/*/choice.json"))
    if len(chosen) > 1:
        names = ", ".join(file.parent.name for file in chosen)
        raise UserError(f"{model} holds choices for {names}; name the export of one of them")
    for file in chosen:
        one = Choice.read(file)
        place = one.model, one.domain, one.recipe, one.format
        model = Path(Paths(str(model)).export(*place)).parent
    files = sorted(model.glob("*.gguf")) if model.is_dir() else [model]
    if len(files) != 1 or not files[0].is_file() or files[0].suffix != ".gguf":
        raise UserError(
            f"{model} is no GGUF file and no folder with one; `trimllm export CHECKPOINT` makes one"
        )
    return files[0]


def run(model: Path, host: str, port: int, threads: int | None, context: int) -> int:
    """Serve until Ctrl-C."""
    file = gguf_file(model)
    require(LLAMA)
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(file)
    params.hostnames, params.port, params.n_ctx = [host], port, context
    params.n_parallel, params.use_jinja = 1, True
    count = threads or usable_cores()
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = count
    server = xllamacpp.Server(params)
    print(
        f"{file} answers at {server.listening_address} (chat) and {server.listening_address}/v1",
        flush=True,
    )
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    return 0
