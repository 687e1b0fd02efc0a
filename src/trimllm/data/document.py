"""The document, the unit of training, calibration and evaluation: choices or a free answer."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import regex

from trimllm.base import files
from trimllm.base.errors import UserError

_HYPHEN = re.compile(r"(?<=[^\W\d_])[-‐-—](?=[^\W\d_])")
_EDGES = regex.compile(  # marks around words
    r"(?<!\S)[\p{Ps}\p{Pi}\p{Pf}\"'¿¡]+"  # not of .5, -5 or !x
    r"|(?<=\S)(?:[\p{Pe}\p{Pi}\p{Pf}\"'.,:;?…、。！，：；？]|(?<!\d)!)+(?!\S)"  # not of 3!
    r"|[\s_:–—-]+$",  # nor of 5 - 3
    regex.MULTILINE,
)


def normalised(text: str) -> str:
    """Lower case and single spaces."""
    return re.sub(r"\s+", " ", text).strip().lower()


def bare(text: str) -> str:
    """Lower case, single spaces, without brackets, quotes and stops around words and dashes at the
    ends of lines: sources end the same question with a colon here and a dash there."""
    plain = unicodedata.normalize("NFC", text).casefold().replace("’", "'")
    plain = re.sub(r"[^\S\n]+", " ", plain)  # \x1c to \x1f are no blanks for `regex`
    plain = _EDGES.sub(" ", _HYPHEN.sub(" ", plain))
    return " ".join(plain.split()) or normalised(text)


@dataclass(frozen=True)
class Document:
    """A prompt, its choices and the index of the right one. `prompt + choice` is scored, so choices
    carry their own leading space (lm-eval's target delimiter). A single choice is the reference
    answer to a question with a free answer."""

    prompt: str
    choices: tuple[str, ...]
    answer: int
    # The prompt as (role, content) of a conversation, for tokenizers with a chat template.
    messages: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.choices, str):
            raise ValueError("choices must be a list")
        object.__setattr__(self, "choices", tuple(self.choices))
        object.__setattr__(self, "messages", tuple((role, text) for role, text in self.messages))
        texts = (self.prompt, *self.choices)
        if not self.choices or not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError("a document needs a prompt and choices, none of them empty")
        if type(self.answer) is not int or not 0 <= self.answer < len(self.choices):
            raise ValueError(f"answer {self.answer!r} is no index of {len(self.choices)} choices")

    @property
    def free(self) -> bool:
        """Whether the answer is free text instead of one among choices."""
        return len(self.choices) == 1

    @property
    def hash(self) -> str:
        """SHA-256 of the content; layout, letter case and the order of choices do not matter."""
        parts = [normalised(self.prompt), *sorted(map(normalised, self.choices))]
        return files.content_hash("\0".join(parts))


def all_free(documents: Sequence[Document], what: str) -> bool:
    """Whether all documents have free answers; `UserError` if some have and others have choices."""
    free = sum(document.free for document in documents)
    if free not in (0, len(documents)):
        raise UserError(
            f"{what}: {free} of {len(documents)} documents have a free answer (a single choice), "
            "the others choices; give documents of one kind"
        )
    return free > 0


def read_documents(path: str | Path) -> list[Document]:
    """Read documents from JSON lines; `UserError` names a line that holds none."""
    documents = []
    for number, row in enumerate(files.read_json(path, lines=True), start=1):
        try:
            values = (row["prompt"], row["choices"], row["answer"], row.get("messages", ()))
            documents.append(Document(*values))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}, document {number}: {error!r}; write the file again") from None
    if not documents:
        raise UserError(f"{path} holds no documents; write the file again")
    return documents


def write_documents(path: str | Path, documents: Iterable[Document]) -> None:
    """Write documents as JSON lines, atomically."""
    rows = ({key: value for key, value in vars(one).items() if value != ()} for one in documents)
    files.write_text(path, "".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
