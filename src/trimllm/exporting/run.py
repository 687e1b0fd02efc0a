"""Export a checkpoint: write it for an engine, verify it there, describe it, save it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from trimllm.base import files, kernels
from trimllm.base.errors import UserError
from trimllm.checkpoint import card, load, store
from trimllm.checkpoint.card import Facts
from trimllm.compress.proof import HeldBack
from trimllm.exporting import gguf_file, proof
from trimllm.exporting.formats import DEFAULT_TYPE, QUANTIZED, require_engine, split_variant
from trimllm.exporting.proof import Record
from trimllm.exporting.writers import expected_bytes, to_gguf, to_padded, to_vllm

ENGINES = {"gguf": "llama_cpp", "vllm": "vllm", "padded": "transformers"}
LONGEST = 512
"""Tokens of a held-back text that are compared."""


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
    facts = facts or Facts()
    facts = replace(facts, name=facts.name or source.name)
    with files.scratch(final) as folder:
        found = _verified(source, variant, folder, list(texts), untrimmed, facts, threads)
        store.complete(folder, final, {"export": record(found)}, provenance())
    return final


def _verified(
    source: Path,
    variant: str,
    folder: Path,
    texts: Sequence[HeldBack],
    untrimmed: str | Path | None,
    facts: Facts,
    threads: int,
) -> Record:
    """Write an export with its card into `folder`; its record, with the proof."""
    start, (name, kind) = time.perf_counter(), split_variant(variant)
    model, tokenizer = load(source, dtype="auto", verify=False)
    config, write = model.config, {"vllm": to_vllm, "padded": to_padded}
    write["gguf"] = partial(to_gguf, kind=kind, facts=facts)
    sizes, loading = write[name](model, tokenizer, source, folder)
    del model  # the reference needs its memory
    context = gguf_file.context_of(config) if kind else config.max_position_embeddings
    texts, quantized = texts or proof.TEXTS, kind if kind in QUANTIZED else ""
    question = proof.make_question(tokenizer, texts, min(LONGEST, context))
    ask = partial(proof.ask, question=question, threads=threads)
    engine = ask(ENGINES[name], next(folder.glob("*.gguf"), folder))[0]
    reference, *rounded = ask("transformers", source, quantized=quantized)
    full = None
    if quantized and untrimmed is not None:
        first, second = ask("transformers", untrimmed, quantized=quantized)
        full = proof.mean_loss(first), proof.mean_loss(second)
    record = proof.judge(
        kind or name,
        engine,
        reference,
        texts=question["texts"],
        ends=[*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder],
        quantized=rounded[0] if rounded else None,
        untrimmed=full,
    )
    if quantized:
        facts = replace(facts, measured=[*facts.measured, _cost(kind, record)])
    card.write(folder, facts, loading, "gguf" if kind else "transformers")
    weights = [file for file in folder.iterdir() if file.suffix in (".gguf", ".safetensors")]
    size = sum(file.stat().st_size for file in weights)
    return {
        "format": variant,
        "bytes": sizes | {"file": size, "expected": expected_bytes(source, variant)},
        "bytes_checkpoint": store.bytes_by_part(source),
        "context": context,
        "held_back_texts": len(texts),
        "proof": record | {"engine": engine["engine"], "reference": reference["engine"]},
        "seconds": round(time.perf_counter() - start, 2),
    }


def _cost(kind: str, record: Record) -> str:
    """Cost of quantization, a line of the card."""
    loss, full = record["loss"], "the untrimmed model was not compared"
    if record["growth_allowed"] is not None:
        full = f"untrimmed {loss['untrimmed_rounded']:.3f} and {loss['untrimmed']:.3f}"
    return (
        f"Loss on held-back texts, nats a token: {loss['engine']:.3f} as {kind}, "
        f"{loss['checkpoint']:.3f} before quantization; {full}"
    )
