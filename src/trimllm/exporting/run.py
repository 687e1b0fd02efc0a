"""Export a checkpoint: check, write, prove, describe, publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.checkpoint import card, store
from trimllm.checkpoint.card import Facts
from trimllm.compress.proof import HeldBack
from trimllm.exporting import evidence
from trimllm.exporting.ask import Asker
from trimllm.exporting.formats import QUANTIZED, RECORD, ExportSettings, split_variant
from trimllm.exporting.makers import MAKERS
from trimllm.exporting.sizes import expected_bytes

Record = dict[str, Any]
LONGEST = 512
"""Tokens of a held-back text that are looked at."""


def export(
    path: str | Path,
    variant: str,
    output: str | Path,
    held_back: Sequence[HeldBack] = (),
    *,
    untrimmed: str | Path | None = None,
    facts: Facts | None = None,
    settings: ExportSettings | None = None,
    provenance: Callable[[], Record] | None = None,
    record: Callable[[Record], dict[str, Record]] = lambda found: {RECORD: found},
) -> Record:
    """Export a checkpoint; the result is whole and proven under its name, or not there.

    Args:
        path: a dense checkpoint, plain or trimmed.
        variant: one of `VARIANTS`.
        output: the folder to be.
        held_back: texts, or pairs of a prompt and an answer, to prove it on; none takes `TEXTS`.
        untrimmed: the full model: a quantized export may lose what it loses. Without it, record
            and card say that nothing was compared.
        facts: what the model card tells beside what the checkpoint does.
        provenance: asked at the end for what goes into manifest.json beside the hashes.
        record: makes of what is returned the JSON documents to store beside it, by stem.

    Returns:
        Format, engine, its answer against transformers' (`evidence.judge`), bytes, seconds.

    Raises:
        UserError: the model cannot be had in this format, the engine is not installed, or it does
            not compute what transformers does.
    """
    settings, facts = settings or ExportSettings(), facts or Facts()
    held_back, start = list(held_back) or list(evidence.TEXTS), time.perf_counter()
    name, kind = split_variant(variant)
    source, _ = store.check_directory(path, verify=True)
    with files.scratch(output) as temporary, files.scratch(output) as workspace:
        named = facts.name or source.name
        facts = replace(facts, name=named)
        maker = MAKERS[name](source, temporary, kind, named, facts.license)
        asked = evidence.question(maker.tokenizer, held_back, min(LONGEST, maker.context))
        sizes = maker.write()
        asker = Asker(asked, workspace, settings.threads)
        sizes |= {"file": sum(f.stat().st_size for f in maker.weights())}
        found: Record = {
            "format": variant,
            "bytes": sizes | {"expected": expected_bytes(source, variant)},
            "bytes_checkpoint": store.bytes_by_part(source),
            "context": maker.context,
            "held_back_texts": len(held_back),
            "proof": _prove(maker, asker, asked, untrimmed),
        }
        if maker.kind in QUANTIZED:
            lines = [*facts.measured, _rounding(maker.kind, found["proof"])]
            facts = replace(facts, measured=lines)
        found["seconds"] = round(time.perf_counter() - start, 2)
        card.write(temporary, facts, maker.loading(), maker.library)
        store.complete(temporary, output, record(found), provenance() if provenance else None)
    return found


def _prove(
    maker: Any, asker: Asker, asked: evidence.Question, untrimmed: str | Path | None
) -> Record:
    """What the engine says, set against transformers; `UserError` where it differs."""
    engine = maker.ask(asker)
    kinds = ["as_is", *([maker.kind] if maker.kind in QUANTIZED else [])]
    reference, *rounded = asker.transformers(maker.source, *kinds)
    baseline = None
    if rounded and untrimmed is not None:
        full, full_rounded = asker.transformers(Path(untrimmed), *kinds)
        baseline = full.loss, full_rounded.loss
    proof = evidence.judge(
        maker.kind or maker.format,
        engine,
        reference,
        texts=asked.texts,
        ends=_ends(maker.tokenizer),
        rounded=rounded[0] if rounded else None,
        untrimmed=baseline,
    )
    return proof | {"engine": engine.engine, "reference": reference.engine}


def _rounding(kind: str, proof: Record) -> str:
    """What rounding cost, as the card tells it."""
    loss = proof["loss"]
    told = (
        f"Loss on held-back texts, nats a token: {loss['engine']:.3f} as {kind}, "
        f"{loss['checkpoint']:.3f} before rounding"
    )
    if proof["growth_allowed"] is None:
        return f"{told}; what the untrimmed model loses by it was not looked at"
    full = f"{loss['untrimmed_rounded']:.3f} and {loss['untrimmed']:.3f}"
    return f"{told}; of the untrimmed model {full}"


def _ends(tokenizer: Any) -> list[int]:
    """Tokens at which an engine may take a text for ended: any that stands for none."""
    return sorted(set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder))
