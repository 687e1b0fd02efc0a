"""Export a checkpoint: write it for an engine, verify it there, describe it, save it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from trimllm.base import files, kernels
from trimllm.base.errors import UserError, required
from trimllm.checkpoint import card, load, store
from trimllm.checkpoint.card import Facts
from trimllm.checkpoint.stock import stock_config, to_stock
from trimllm.compress.proof import HeldBack
from trimllm.exporting import proof
from trimllm.exporting.formats import (
    DEFAULT_TYPE,
    FORMATS,
    QUANTIZED,
    TRANSFORMERS,
    require_engine,
    split_variant,
)
from trimllm.exporting.proof import Record
from trimllm.exporting.workers.transformers_worker import answer, quantize_

MAX_TEXT_TOKENS = 512
"""Tokens of a held-back text that are compared."""
GGUF = """\
Stock llama.cpp reads it (architecture `deci`), and programs built on it:

    llama-server -m {file} -c {context}{options}

Or with the wheel `xllamacpp`: `trimllm serve {file}`.
"""
VLLM_TEXT = """\
Stock vLLM serves it by its Transformers backend, in one pipeline stage. The modeling file beside
the weights is code, which vLLM runs only with this option: `vllm serve PATH --trust-remote-code`.
"""
PADDED = """\
A stock model of full size, which needs no code of its own: dropped sublayers are present and add
nothing. It saves neither memory nor time. `AutoModelForCausalLM.from_pretrained("PATH")` loads it.
"""


def export(
    path: str | Path,
    format: str = "gguf",
    output: str | Path | None = None,
    texts: Sequence[HeldBack] = (),
    *,
    untrimmed: str | Path | None = None,
    facts: Facts | None = None,
    threads: int = 1,
    provenance: Callable[[], Record] = dict,
    record: Callable[[Record], Record] = dict,
) -> Path:
    """Write a checkpoint for an engine, and verify it in that engine before it is saved.

    Args:
        path: a dense checkpoint directory, plain or trimmed.
        format: "gguf" (llama.cpp; 16 bits) or with a type, "gguf_q8_0"; "vllm"; "padded".
        output: folder of the export; None puts it beside the checkpoint, as `PATH-FORMAT`.
        texts: held-back texts, or pairs of prompt and answer, to compare the engine with
            transformers on; none takes `proof.TEXTS`.
        untrimmed: the full model: quantization may cost the export what it costs there.
        facts: content of the model card that the checkpoint does not have.
        threads: of the processes that verify.
        provenance: called at the end; its result goes into manifest.json.
        record: makes export.json of format, proof, bytes and seconds.

    Returns:
        The folder: the model, its card, export.json, manifest.json.

    Raises:
        UserError: the engine is not installed, cannot run this model, or does not compute what
            transformers does. Nothing is saved then.
    """
    variant = f"gguf_{DEFAULT_TYPE}" if format == "gguf" else format
    require_engine(variant)
    name, kind = split_variant(variant)
    source, config = store.check_directory(path, verify=True)
    if kernels.method_of(config):
        raise UserError(f"{source} is compressed; export the checkpoint that it was made from")
    final = Path(output) if output else Path(f"{source.absolute()}-{variant}")
    facts, texts, start = facts or Facts(), texts or proof.TEXTS, time.perf_counter()
    facts = replace(facts, name=facts.name or source.name)
    files.refuse_other(final)
    with files.scratch(final) as folder:
        model, tokenizer = load(source, dtype="auto", verify=False)
        context = model.config.max_position_embeddings
        if name == "gguf":
            context = _gguf().context_of(model.config)
            written, loading = _write_gguf(model, tokenizer, source, folder, kind, facts)
        else:
            written, loading = folder, VLLM_TEXT if name == "vllm" else PADDED
            store.write(model if name == "vllm" else to_stock(model), tokenizer, folder)
        del model  # the reference needs its memory
        question = proof.make_question(tokenizer, texts, min(MAX_TEXT_TOKENS, context))
        engine = proof.ask(FORMATS.get(variant, TRANSFORMERS), written, question, threads)
        evidence = _judge(variant, engine, question, tokenizer, source, untrimmed)
        card.write(folder, facts, loading, "gguf" if name == "gguf" else "transformers")
        weights = [one for one in folder.iterdir() if one.suffix in (".gguf", ".safetensors")]
        size = sum(one.stat().st_size for one in weights)
        content = {
            "format": variant,
            "bytes": {"file": size, **({} if name == "gguf" else store.bytes_by_part(folder))},
            "bytes_checkpoint": store.bytes_by_part(source),
            "context": context,
            "held_back_texts": len(texts),
            "proof": evidence,
            "seconds": round(time.perf_counter() - start, 2),
        }
        store.complete(folder, final, {"export": record(content)}, provenance())
    return final


def _judge(
    variant: str,
    engine: Record,
    question: Record,
    tokenizer: Any,
    source: Path,
    untrimmed: str | Path | None,
) -> Record:
    """Compare an engine's answers with those of transformers (`proof.judge`)."""
    name, kind = split_variant(variant)
    ends = [*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder]
    answers = (engine, *_references(source, question, kind))
    losses = None
    if untrimmed is not None and kind in QUANTIZED:
        losses = [proof.mean_loss(one) for one in _references(untrimmed, question, kind)]
    return proof.judge(kind or name, answers, question["texts"], ends, losses)


def _gguf() -> Any:
    """The module that writes GGUF files, which needs the extra `export`."""
    with required("export"):
        from trimllm.exporting import gguf_file
    return gguf_file


def _write_gguf(
    model: nn.Module, tokenizer: Any, source: Path, folder: Path, kind: str, facts: Facts
) -> tuple[Path, str]:
    """Write a GGUF file, with config.json for the hub: the file, and how to load it (Markdown)."""
    file = folder / f"model-{kind.upper()}.gguf"  # the hub reads the type off the name
    _gguf().write(model, tokenizer, source, file, kind, facts.name or "", facts.license)
    shutil.copyfile(source / "config.json", folder / "config.json")
    context = min(4096, _gguf().context_of(model.config))
    options = " --jinja" if tokenizer.chat_template else ""
    return file, GGUF.format(file=file.name, context=context, options=options)


def _references(path: str | Path, question: Record, kind: str) -> list[Record]:
    """transformers' answers about a checkpoint: with its weights, and for a quantized type of GGUF
    file with those that the file holds."""
    model, tokenizer = load(path, verify=False)
    answers = [answer(model, tokenizer, question)]
    if kind in QUANTIZED:
        quantize_(model, kind)
        answers.append(answer(model, tokenizer, question))
    return answers


def expected_bytes(path: str | Path, variant: str) -> int:
    """Bytes of the files that hold an exported checkpoint's weights, by its configuration.

    Tensors are exact; the vocabulary of a GGUF file counts as tokenizer.json, which is larger.

    Args:
        path: a dense checkpoint, plain or trimmed.
        variant: one of `VARIANTS`.

    Raises:
        UserError: the model cannot be exported in this format.
    """
    name, kind = split_variant(variant)
    directory, _ = store.check_directory(path, verify=False)
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    with torch.device("meta"):
        written = stock_config(config) if name == "padded" else config
        model = AutoModelForCausalLM.from_config(written, dtype=config.dtype)
    model.tie_weights()
    if name != "gguf":
        return sum(one.numel() * one.element_size() for one in model.parameters())
    gguf_file = _gguf()
    gguf_file.check(config, directory)
    vocabulary = directory / "tokenizer.json"
    tensors = sum(gguf_file.bytes_of(entry, kind) for entry in gguf_file.entries(model))
    return tensors + (vocabulary.stat().st_size if vocabulary.is_file() else 0)
