"""Export a checkpoint: write it for an engine, verify it there, describe it, save it."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from trimllm.base import files, kernels
from trimllm.base.errors import UserError, required
from trimllm.checkpoint import card, load, store
from trimllm.checkpoint.card import Facts
from trimllm.checkpoint.stock import stock_config, to_stock, unwritten
from trimllm.compress.run import HeldBack
from trimllm.exporting import proof
from trimllm.exporting.formats import FORMATS, QUANTIZED, require_engine, split_variant
from trimllm.exporting.proof import Record

with required("export"):
    from trimllm.exporting import gguf_file

MAX_TEXT_TOKENS = 512  # of a held-back text, which are compared
LOADING = """\
Stock llama.cpp reads it (architecture `deci`), and programs built on it: `llama-server -m {0}`. Or
with the wheel `xllamacpp`: `trimllm serve {0}`.
"""


def export(
    path: str | Path,
    format: str = "gguf",
    output: str | Path | None = None,
    texts: Sequence[HeldBack] = (),
    *,
    facts: Facts | None = None,
    threads: int = 1,
    provenance: Callable[[], Record] = dict,
    record: Callable[[Record], Record] = dict,
) -> Path:
    """Write a checkpoint for an engine, and verify it in that engine before it is saved.

    Args:
        path: a dense checkpoint.
        format: "gguf" (llama.cpp; 16 bits) or with a type, "gguf_q8_0"; "vllm"; "padded".
        output: folder of the export; None puts it beside the checkpoint, as `PATH-FORMAT`.
        texts: held-back texts, or pairs of prompt and answer, to compare on; none: `proof.TEXTS`.
        facts: content of the model card that the checkpoint does not have.
        provenance, record: called at the end for manifest.json, and to make export.json.

    Returns the folder. Raises `UserError` if the engine is not installed or disagrees.
    """
    variant = "gguf_f16" if format == "gguf" else format
    require_engine(variant)
    name, kind = split_variant(variant)
    source, config = store.check_directory(path, verify=True)
    if kernels.method_of(config):
        raise UserError(f"{source} is compressed; export the checkpoint that it was made from")
    final = Path(output) if output else Path(f"{source.absolute()}-{variant}")
    if final.resolve() == source.resolve():
        raise UserError(f"{final} is the checkpoint itself; an export needs a folder of its own")
    facts, texts, start = facts or Facts(), texts or proof.TEXTS, time.perf_counter()
    facts = replace(facts, name=facts.name or source.name)
    files.refuse_other(final)
    with files.scratch(final) as folder:
        model, tokenizer = load(source, verify=False)
        written = _write(model, tokenizer, source, folder, variant, facts)
        context = gguf_file.context_of(model.config)
        question = proof.make_question(tokenizer, texts, min(MAX_TEXT_TOKENS, context - 8))
        references = [proof.answer(model, tokenizer, question)]
        if kind in QUANTIZED:
            gguf_file.quantize_(model, kind)
            references.append(proof.answer(model, tokenizer, question))
        del model  # the engine needs its memory
        if name == "padded":
            engine = proof.answer(*load(folder, verify=False), question)
        else:
            engine = proof.ask(FORMATS[variant], written, question, threads)
        content = {
            "format": variant,
            "proof": proof.judge(kind or name, engine, references, question["texts"]),
            "held_back_texts": len(texts),
            "bytes": {"file": store.weight_bytes(folder)},
            "bytes_checkpoint": store.bytes_by_part(source),
            "seconds": round(time.perf_counter() - start, 2),
        }
        store.complete(folder, final, {"export": record(content)}, provenance())
    return final


def _write(
    model: Any, tokenizer: Any, source: Path, folder: Path, variant: str, facts: Facts
) -> Path:
    """Write the model with its card; what the engine loads."""
    name, kind = split_variant(variant)
    if name == "gguf":
        gguf = folder / f"model-{kind.upper()}.gguf"  # the hub reads the type off the name
        about = {"name": facts.name, "license": facts.license}
        gguf_file.write(model, tokenizer, source, gguf, kind, **about)
        shutil.copyfile(source / "config.json", folder / "config.json")
        card.write(folder, facts, LOADING.format(gguf.name), "gguf")
        return gguf
    config = files.read_json(source / "config.json")
    dtype = config.get("dtype") or config.get("torch_dtype")  # as older checkpoints call it
    store.write(to_stock(model) if name == "padded" else model, tokenizer, folder, dtype=dtype)
    card.write(folder, facts)
    return folder


def expected_bytes(path: str | Path, variant: str) -> int:
    """Bytes of a dense checkpoint's weights when exported as `variant`, by its configuration; the
    vocabulary of a GGUF file counts as tokenizer.json, which is larger. `UserError` for a model
    that cannot be exported so."""
    name, kind = split_variant(variant)
    directory, _ = store.check_directory(path, verify=False)
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    with torch.device("meta"):
        model = unwritten(stock_config(config) if name == "padded" else config, config.dtype)
    if name != "gguf":
        return sum(one.nbytes for one in model.parameters())
    gguf_file.check(config, directory)
    sizes = (gguf_file.bytes_of(n, one.shape, kind) for n, one in gguf_file.tensors(model))
    return sum(sizes) + sum(one.stat().st_size for one in directory.glob("tokenizer.json"))
