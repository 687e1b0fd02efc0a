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
from trimllm.base.errors import UserError
from trimllm.checkpoint import card, load, store
from trimllm.checkpoint.card import Facts
from trimllm.checkpoint.stock import stock_config, to_stock
from trimllm.compress.proof import HeldBack
from trimllm.exporting import gguf_file, proof
from trimllm.exporting.engines import LLAMA, TRANSFORMERS, VLLM
from trimllm.exporting.formats import DEFAULT_TYPE, QUANTIZED, require_engine, split_variant
from trimllm.exporting.proof import Record
from trimllm.exporting.reference import answer, quantize_

ENGINES = {"gguf": LLAMA, "vllm": VLLM, "padded": TRANSFORMERS}
MAX_TEXT_TOKENS = 512
"""Tokens of a held-back text that are compared."""
GGUF = """\
Stock llama.cpp reads it (architecture `deci`), and programs built on it:

    llama-server -m {file} -c {context}{options}

Or with the wheel `xllamacpp`: `trimllm serve {file}`.
"""
VLLM_TRIMMED = """\
Stock vLLM serves it by its Transformers backend, in one pipeline stage. The modeling file beside
the weights is code, which vLLM runs only with this option: `vllm serve PATH --trust-remote-code`.
"""
VLLM_STOCK = "Stock vLLM serves it: `vllm serve PATH`.\n"
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
        untrimmed: the full model: quantization may cost the export what it costs there. Without
            it, record and card say that nothing was compared.
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
    source, config = store.check_directory(path, verify=True)
    if kernels.method_of(config):
        raise UserError(f"{source} is compressed; export the checkpoint that it was made from")
    final = Path(output) if output else Path(f"{source.absolute()}-{variant}")
    facts, texts = facts or Facts(), texts or proof.TEXTS
    facts = replace(facts, name=facts.name or source.name)
    start = time.perf_counter()
    with files.scratch(final) as folder:
        model, tokenizer = load(source, dtype="auto", verify=False)
        sizes, written, loading = _write(model, tokenizer, source, folder, variant, facts)
        context = gguf_file.context_of(model.config)
        if not variant.startswith("gguf"):
            context = model.config.max_position_embeddings
        del model  # the reference needs its memory
        question = proof.make_question(tokenizer, texts, min(MAX_TEXT_TOKENS, context))
        ends = [*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder]
        evidence = _verify(variant, written, source, untrimmed, question, ends, threads)
        if "rounded" in evidence["loss"]:
            facts = replace(facts, measured=[*facts.measured, _cost(variant, evidence)])
        library = "gguf" if variant.startswith("gguf") else "transformers"
        card.write(folder, facts, loading, library)
        weights = [one for one in folder.iterdir() if one.suffix in (".gguf", ".safetensors")]
        content = {
            "format": variant,
            "bytes": sizes | {"file": sum(one.stat().st_size for one in weights)},
            "bytes_checkpoint": store.bytes_by_part(source),
            "context": context,
            "held_back_texts": len(texts),
            "proof": evidence,
            "seconds": round(time.perf_counter() - start, 2),
        }
        store.complete(folder, final, {"export": record(content)}, provenance())
    return final


def _write(
    model: nn.Module, tokenizer: Any, source: Path, folder: Path, variant: str, facts: Facts
) -> tuple[dict[str, int], Path, str]:
    """Write a model in a format: bytes by part, what the engine loads, and how to load it
    (Markdown)."""
    name, kind = split_variant(variant)
    if name == "gguf":
        file = folder / f"model-{kind.upper()}.gguf"  # the hub reads the type off the name
        size = gguf_file.write(model, tokenizer, source, file, kind, facts.name, facts.license)
        shutil.copyfile(source / "config.json", folder / "config.json")  # for the hub
        options = " --jinja" if tokenizer.chat_template else ""
        context = min(4096, gguf_file.context_of(model.config))
        return {"total": size}, file, GGUF.format(file=file.name, context=context, options=options)
    if name == "padded":
        store.write(to_stock(model), tokenizer, folder)
        return store.bytes_by_part(folder), folder, PADDED
    store.write(model, tokenizer, folder)
    trimmed = getattr(model.config, "units", None) is not None
    return store.bytes_by_part(folder), folder, VLLM_TRIMMED if trimmed else VLLM_STOCK


def _verify(
    variant: str,
    written: Path,
    source: Path,
    untrimmed: str | Path | None,
    question: Record,
    ends: Sequence[int],
    threads: int,
) -> Record:
    """Record of the proof of an export; `UserError` if it is broken."""
    name, kind = split_variant(variant)
    engine = proof.ask(ENGINES[name], written, question, threads)
    reference, rounded = _references(source, question, kind)
    losses = None
    if rounded and untrimmed is not None:
        losses = tuple(map(proof.mean_loss, _references(untrimmed, question, kind)))
    record = proof.judge(
        kind or name,
        engine,
        reference,
        texts=question["texts"],
        ends=ends,
        quantized=rounded,
        untrimmed=losses,
    )
    return record | {"engine": engine["engine"], "reference": reference["engine"]}


def _references(path: str | Path, question: Record, kind: str) -> tuple[Record, Record | None]:
    """transformers' answers about a checkpoint: with its weights, and with those that a GGUF file
    of a quantized type holds."""
    model, tokenizer = load(path, verify=False)
    first = answer(model, tokenizer, question)
    if kind not in QUANTIZED:
        return first, None
    quantize_(model, kind)
    return first, answer(model, tokenizer, question)


def _cost(variant: str, record: Record) -> str:
    """Cost of quantization, a line of the card."""
    loss, full = record["loss"], "the untrimmed model was not compared"
    if record["growth_allowed"] is not None:
        full = f"untrimmed {loss['untrimmed_rounded']:.3f} and {loss['untrimmed']:.3f}"
    return (
        f"Loss on held-back texts, nats a token: {loss['engine']:.3f} as {variant}, "
        f"{loss['checkpoint']:.3f} before quantization; {full}"
    )


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
    gguf_file.check(config, directory)
    vocabulary = directory / "tokenizer.json"
    tensors = sum(gguf_file.bytes_of(entry, kind) for entry in gguf_file.entries(model))
    return tensors + (vocabulary.stat().st_size if vocabulary.is_file() else 0)
