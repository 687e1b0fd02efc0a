"""Text to tokens, exactly as lm-evaluation-harness does it for causal models.

A score depends on where the tokens of a choice begin. Everything in this library that scores or
trains goes through `encode_pair`, so that training sees what evaluation measures.
"""

from __future__ import annotations

from typing import Any

from trimllm.base.errors import UserError


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Tokens of a text, with the special tokens that the tokenizer adds by itself."""
    prefix = tokenizer.bos_token or tokenizer.eos_token
    if prefix and text.startswith(prefix):
        return tokenizer.encode(text, add_special_tokens=False)
    return tokenizer.encode(text)


def encode_pair(tokenizer: Any, prompt: str, choice: str) -> tuple[list[int], list[int]]:
    """Tokens of a prompt and of a choice that follows it.

    White space at the prompt's end goes to the choice, and both are encoded together, so that a
    word boundary falls where it does in running text.
    """
    if not prompt:
        specials = (tokenizer.bos_token_id, tokenizer.eos_token_id)
        first = next((token for token in specials if token is not None), None)
        if first is None:
            raise UserError("the tokenizer has neither a BOS nor an EOS token; give all a prompt")
        tokens = tokenizer.encode(choice, add_special_tokens=False)
        return ([first], tokens) if tokens[:1] != [first] else (tokens[:1], tokens[1:])
    stripped = prompt.rstrip()
    prompt, choice = stripped, prompt[len(stripped) :] + choice
    head = encode_text(tokenizer, prompt)
    return head, encode_text(tokenizer, prompt + choice)[len(head) :]
