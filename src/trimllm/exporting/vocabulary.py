"""A tokenizer as llama.cpp's `tokenizer.ggml.*` keys.

llama.cpp knows BPE of bytes (GPT-2, SmolLM, Qwen, LLaMA-3) and BPE of characters with a fallback to
bytes (SentencePiece: LLaMA-2, Mistral). It splits text into words by code of its own, one name for
each way. An export's proof compares the tokens of both.
"""

from __future__ import annotations

import json
from typing import Any

from gguf import TokenType

from trimllm.base.errors import UserError

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA_3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
SPLITS = {
    (("ByteLevel", True),): "gpt-2",
    (("Digits", True), ("ByteLevel", True)): "smollm",
    (("Split", QWEN2), ("ByteLevel", False)): "qwen2",
    (("Split", LLAMA_3), ("ByteLevel", False)): "llama-bpe",
}
"""Steps of a pre-tokenizer in tokenizer.json, each with its setting -> llama.cpp's name."""
SETTINGS = ("use_regex", "individual_digits", "pattern")


def vocabulary(tokenizer: Any, size: int) -> dict[str, Any]:
    """Values for `GGUFWriter.add_KEY`, for embeddings of `size` rows.

    Merges and special tokens are not among them: `gguf.SpecialVocab` has them.

    Raises:
        UserError: llama.cpp has no code for such a tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = json.loads(backend.to_str()) if backend is not None else {"model": {}}
    model = content["model"]
    if model.get("type") != "BPE":
        kind = model.get("type") or type(tokenizer).__name__
        raise UserError(f"llama.cpp has no tokenizer of this kind ({kind}); it has BPE")
    pre = _split(content)
    pieces = pre == "default"
    tokens, types = _tokens(tokenizer, pieces, size)
    values = {
        "tokenizer_model": "llama" if pieces else "gpt2",
        "tokenizer_pre": pre,
        "token_list": tokens,
        "token_types": types,
        "add_space_prefix": tokenizer.tokenize("a")[0].startswith("▁"),
    }
    if pieces:  # the sooner two of them are merged, the higher the score of their union
        merged = ["".join(pair) for pair in model["merges"]]
        rank = {piece: number for number, piece in reversed(list(enumerate(merged)))}
        values["token_scores"] = [-float(rank.get(token, len(merged))) for token in tokens]
    return values


def _split(content: dict[str, Any]) -> str:
    """llama.cpp's name of the way in which tokenizer.json splits text; `UserError` for others."""
    part = content["pre_tokenizer"] or {"type": "Sequence", "pretokenizers": []}
    steps = part["pretokenizers"] if part["type"] == "Sequence" else [part]
    kinds = [step["type"] for step in steps]
    if content["model"].get("byte_fallback") and set(kinds) <= {"Metaspace"}:
        return "default"  # SentencePiece's
    values = [next((step[key] for key in SETTINGS if key in step), None) for step in steps]
    values = [one.get("Regex") if isinstance(one, dict) else one for one in values]
    way: Any = tuple(zip(kinds, values, strict=True))
    if way not in SPLITS:
        raise UserError(
            f"llama.cpp's name of this tokenizer's way to split text ({' and '.join(kinds)}) is "
            "not known; add it to trimllm.exporting.vocabulary"
        )
    return SPLITS[way]


def _tokens(tokenizer: Any, pieces: bool, size: int) -> tuple[list[str], list[int]]:
    """Tokens and their types by id; ids without a token are marked as unused."""
    known = {number: token for token, number in tokenizer.get_vocab().items()}
    if known and max(known) >= size:
        raise UserError(f"the tokenizer has {max(known) + 1} tokens, the model {size}")
    added = tokenizer.added_tokens_decoder
    tokens = [known.get(number, f"[PAD{number}]") for number in range(size)]
    types = [TokenType.NORMAL if number in known else TokenType.UNUSED for number in range(size)]
    for number, token in enumerate(tokens):
        if number in added:
            special = added[number].special
            types[number] = TokenType.CONTROL if special else TokenType.USER_DEFINED
        elif pieces and token.startswith("<0x") and len(token) == 6:
            types[number] = TokenType.BYTE
    return tokens, types
