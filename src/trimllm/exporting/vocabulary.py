"""A tokenizer in the terms of llama.cpp: model, way to cut words, tokens, types, merges.

Two kinds of tokenizers are known: BPE of bytes (GPT-2's; SmolLM, Qwen2, LLaMA-3) and BPE of
characters with bytes for what is left (SentencePiece's; LLaMA-2, Mistral). llama.cpp cuts words by
code of its own, one name for each way; which way a tokenizer cuts is read off its own description.
Whether both then give the same tokens is part of an export's proof.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from gguf import TokenType

from trimllm.base.errors import UserError

# Regular expression of a tokenizer's first cut -> llama.cpp's name of it.
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PATTERNS = {_QWEN2: "qwen2", _QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"): "llama-bpe"}
_BYTE = "<0x"


@dataclass
class Vocabulary:
    """What `tokenizer.ggml.*` keys say.

    Attributes:
        model: "gpt2" (bytes) or "llama" (characters).
        pre: how words are cut.
        tokens, types: of every id, padded to the rows of the embeddings.
        merges: of `gpt2`, in order.
        scores: of `llama`, by token; the highest is merged first.
        space_prefix: whether a space is put before a text (of `llama`).
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    space_prefix: bool = False


def vocabulary(tokenizer: Any, size: int) -> Vocabulary:
    """The vocabulary of a tokenizer, for embeddings of `size` rows.

    Raises `UserError` for a tokenizer that llama.cpp has no code for.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    said = json.loads(backend.to_str()) if backend is not None else {}
    model = said.get("model", {})
    if model.get("type") != "BPE":
        kind = model.get("type") or type(tokenizer).__name__
        raise UserError(f"llama.cpp has no tokenizer like this one ({kind}); it knows BPE")
    cut = cut_of(said)
    tokens, types = _tokens(tokenizer, model, size)
    merges = [pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"]]
    if cut is not None:
        return Vocabulary("gpt2", cut, tokens, types, merges=[" ".join(pair) for pair in merges])
    # The sooner two pieces are merged, the higher the score of what they become.
    rank: dict[str, int] = {}
    for number, pair in enumerate(merges):
        rank.setdefault("".join(pair), number)
    scores = [-float(rank.get(token, len(merges))) for token in tokens]
    prefix = tokenizer.tokenize("a")[0].startswith("▁")
    return Vocabulary("llama", "default", tokens, types, scores=scores, space_prefix=prefix)


def cut_of(said: dict[str, Any]) -> str | None:
    """llama.cpp's name of how a tokenizer (`tokenizer.json`) cuts words; None for SentencePiece's.

    Raises `UserError` for a way that is not known.
    """
    steps = _steps(said.get("pre_tokenizer"), "pretokenizers")
    kinds = [step["type"] for step in steps]
    if "ByteLevel" not in kinds:
        if said["model"].get("byte_fallback") and set(kinds) <= {"Metaspace"}:
            return None
        raise UserError(f"llama.cpp has no tokenizer that cuts words by {' and '.join(kinds)}")
    words = [step for step in _steps(said.get("normalizer"), "normalizers")]
    if any(step["type"] not in ("NFC",) for step in words):
        changes = ", ".join(step["type"] for step in words)
        raise UserError(f"llama.cpp does not change texts as this tokenizer does ({changes})")
    whole = steps[kinds.index("ByteLevel")]
    if kinds == ["ByteLevel"] and whole["use_regex"] and not whole["add_prefix_space"]:
        return "gpt-2"
    digits = kinds == ["Digits", "ByteLevel"] and steps[0]["individual_digits"]
    if digits and whole["use_regex"]:
        return "smollm"
    if kinds == ["Split", "ByteLevel"] and not whole["use_regex"]:
        pattern = steps[0]["pattern"].get("Regex")
        if pattern in _PATTERNS:
            return _PATTERNS[pattern]
    raise UserError(
        f"llama.cpp's name of how this tokenizer cuts words ({' and '.join(kinds)}) is not known; "
        "add it to trimllm.exporting.vocabulary"
    )


def _steps(part: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The steps of a part of a tokenizer, one or many."""
    if part is None:
        return []
    return part[name] if part["type"] == "Sequence" else [part]


def _tokens(tokenizer: Any, model: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Tokens and their types by id; ids that no text reaches are marked as unused."""
    known = {number: token for token, number in tokenizer.get_vocab().items()}
    if known and max(known) >= size:
        raise UserError(f"the tokenizer has {max(known) + 1} tokens, the model {size}")
    added = tokenizer.added_tokens_decoder
    tokens, types = [], []
    for number in range(size):
        token = known.get(number)
        kind = TokenType.NORMAL
        if token is None:
            token, kind = f"[PAD{number}]", TokenType.UNUSED
        elif number in added:
            kind = TokenType.CONTROL if added[number].special else TokenType.USER_DEFINED
        elif model.get("byte_fallback") and token.startswith(_BYTE) and len(token) == 6:
            kind = TokenType.BYTE
        elif number == tokenizer.unk_token_id:
            kind = TokenType.UNKNOWN
        tokens.append(token)
        types.append(int(kind))
    return tokens, types
