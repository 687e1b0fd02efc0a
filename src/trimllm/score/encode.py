"""Text to tokens, exactly as lm-evaluation-harness does it for causal models.

All scoring and training goes through `encode_document`, so training sees what evaluation measures.
Chat templates are applied here, where the tokenizer is known, not when documents are prepared.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from jinja2 import TemplateError

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.score.rows import Row

MARK = "an answer of the assistant"


def encode_text(tokenizer: Any, text: str) -> list[int]:
    """Tokens of a text, with the special tokens that the tokenizer adds by itself."""
    prefix = tokenizer.bos_token or tokenizer.eos_token
    if prefix and text.startswith(prefix):
        return tokenizer.encode(text, add_special_tokens=False)
    return tokenizer.encode(text)


def encode_pair(tokenizer: Any, prompt: str, choice: str) -> tuple[list[int], list[int]]:
    """Tokens of a prompt, which is not empty, and of a choice that follows it. White space at the
    prompt's end goes to the choice, and both are encoded together, as in running text."""
    head = encode_text(tokenizer, prompt.rstrip())
    return head, encode_text(tokenizer, prompt + choice)[len(head) :]


def rendered(tokenizer: Any, document: Document) -> Document:
    """A document with messages as the tokenizer's chat template renders them, if it has one;
    `UserError` if it refuses them. Choices then begin with what it writes before an answer."""
    if not document.messages or not tokenizer.chat_template:
        return document
    messages = [{"role": role, "content": content} for role, content in document.messages]
    choices = [choice.strip() for choice in document.choices]
    answered = [*messages, {"role": "assistant", "content": MARK}]
    render = partial(tokenizer.apply_chat_template, tokenize=False)
    try:
        prompt, whole = render(messages, add_generation_prompt=True), render(answered)
    except TemplateError as error:
        raise UserError(
            f"the model's chat template refuses the document {document.prompt[:60]!r} ({error}); "
            "set `chat_template: false`, or leave such documents out"
        ) from None
    before, answer, _ = whole.removeprefix(prompt).partition(MARK)
    lead = before if answer and whole.startswith(prompt) else ""
    return Document(prompt, tuple(lead + choice for choice in choices), document.answer)


def texts_of(tokenizer: Any, documents: Iterable[Document]) -> list[tuple[str, str]]:
    """Rendered prompts and right answers, as texts."""
    shown = [rendered(tokenizer, document) for document in documents]
    return [(document.prompt, document.choices[document.answer]) for document in shown]


def encode_document(tokenizer: Any, document: Document) -> Row:
    """A document in tokens; `UserError` if a choice has none. A free answer ends with EOS, so that
    training teaches where to stop."""
    document = rendered(tokenizer, document)
    pairs = [encode_pair(tokenizer, document.prompt, choice) for choice in document.choices]
    if not all(tokens for _, tokens in pairs):
        raise UserError(f"a choice of the document {document.prompt[:60]!r} has no tokens")
    end = tokenizer.eos_token_id
    ending = (end,) if document.free and end is not None else ()
    return Row(tuple(pairs[0][0]), tuple((*tokens, *ending) for _, tokens in pairs))
