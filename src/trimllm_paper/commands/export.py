"""Export a checkpoint for an engine, and serve one by llama.cpp.

    trimllm export CHECKPOINT --format gguf_q8_0
    trimllm serve CHECKPOINT-gguf_q8_0        # or `results/my`: what a run on one's own data chose

An export is verified in its engine before it is saved. The server is llama.cpp's own, from the
wheel xllamacpp: chat in the browser at its address, and OpenAI's API under /v1.
"""

import contextlib
import sys
import threading
from pathlib import Path

from trimllm.base.errors import UserError
from trimllm.base.machine import usable_cores
from trimllm.exporting.formats import LLAMA, require


def run(checkpoint: Path, format: str, output: Path | None) -> int:
    """Export; print where it is and how to serve it."""
    import trimllm  # needs torch

    folder = trimllm.export(checkpoint, format, output)
    print(f"{folder}: verified; see README.md and export.json", file=sys.stderr)
    gguf = next(folder.glob("*.gguf"), None)
    print(f"llama-server -m {gguf}    # or: trimllm serve {folder}" if gguf else folder)
    return 0


def gguf_file(model: Path) -> Path:
    """GGUF file of a path: itself, in a folder, or of a run's choice. `UserError` if none."""
    from trimllm_paper.recipe import Paths  # these need the extra [pipeline], export does not
    from trimllm_paper.records import Choice

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


def serve(model: Path, host: str, port: int, threads: int | None, context: int) -> int:
    """Serve until Ctrl-C."""
    file = gguf_file(model)
    require(LLAMA)
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.use_jinja = str(file), True
    params.hostnames, params.port, params.n_ctx, params.n_parallel = [host], port, context, 1
    count = threads or usable_cores()
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = count
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise UserError(f"{file}: llama.cpp cannot load it ({error})") from None
    address = server.listening_address
    print(f"{file} answers at {address} (chat) and {address}/v1", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
    return 0
