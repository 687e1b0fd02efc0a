"""Numbers that a page tells, against where they come from: README.md, LIMITS.md and the like.

In a page, Markdown, what is measured says its source in an HTML comment. It holds for its block:
the lines between two empty ones.

    <!-- cells of FILE: KEY=VALUE -->   a table: its numbers are cells of FILE, a table's CSV, of
                                        the rows where the column KEY is VALUE. A row says which one
                                        it is (`<!-- trimllm_50 -->`), a heading names the column.
    <!-- read off FILE@SHA256 -->       somebody read them off FILE, whose hash began so; then, as
                                        above, of which rows (`: KEY=VALUE`), for expressions
    <!-- measured DATE: HOW -->         by a command, or in words
    <!-- given: WHAT -->                nobody measured them: limits, sums, numbers of the paper

The first two are checked here: a number that is not that of its file is named, and every block that
was read off a file that is another one now. So is a measured number in a block without a source,
and one that no expression tells where all of a block was read off rows of a file; but for the sizes
of these (percent of the units) and the 95% of intervals.

Within a sentence, and not where a line begins (Markdown would end the paragraph), an expression
says what the numbers behind it are, each as rounded as it is printed:

    keeps <!-- = share(half, full_ft) of piqa sciq --> 72 and 77% of ...

is of what was read off, or `in FILE: KEY=VALUE`. There are `FUNCTIONS` of rows, several in turn
(`cell(half) cell(full_ft) of piqa`), and before them `most`, `least`, `range` (least and most) or
`pooled` (the root of the mean square, of standard deviations).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, zip_longest
from math import sqrt
from pathlib import Path
from statistics import fmean

from trimllm.base import files

COMMENT = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)
CELLS = re.compile(r"cells of (?P<file>\S+): (?P<key>\w+)=(?P<value>\S+)")
ROWS = r": (?P<key>\w+)=(?P<value>\S+)"
READ_OFF = re.compile(rf"read off (?P<file>\S+)@(?P<hash>[0-9a-f]{{8,64}})(?:{ROWS})?")
FOLLOWS = re.compile(
    r"= (?:(?P<over>most|least|range|pooled) )?(?P<calls>\w+\([^()]*\)(?: \w+\([^()]*\))*)"
    rf" of (?P<columns>\w+(?: \w+)*)(?: in (?P<file>\S+){ROWS})?"
)
CALL = re.compile(r"(\w+)\(([^()]*)\)")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?")
OTHERS = re.compile(r"measured \d{4}-\d\d-\d\d: \S|given: \S")
Cell = Callable[[str], float]
"""A field of a row, in the column that is asked for."""
FUNCTIONS: dict[str, Callable[..., float]] = {
    "cell": lambda one: one("measured"),
    "share": lambda one, other: 100 * one("measured") / other("measured"),
    "share_above": lambda one, other: 100 * FUNCTIONS["above"](one) / FUNCTIONS["above"](other),
    "difference": lambda one, other: one("measured") - other("measured"),
    "above": lambda one: one("measured") - one(CHANCE),
    "deviation": lambda one: one("deviation"),
    "width": lambda one: (one("ci95_high") - one("ci95_low")) / 2,
    "printed": lambda one: one("published"),
    "loss": lambda one: one("answer_loss"),
    "bytes": lambda one: one("bytes_percent"),
    "low": lambda one: one("minus_full_ft_low"),
    "high": lambda one: one("minus_full_ft_high"),
    "exact": lambda one: one("exact_match"),
    "rouge": lambda one: one("rouge_l"),
    "perplexity": lambda one: one("perplexity"),
}
"""What expressions may say of rows: percent, percent of another's accuracy and of what that has
above chance, percentage points, points above chance, standard deviation over seeds in points, half
of the interval in points, the paper's own number, nats a token of the right answers, percent of the
full model's bytes, ends of the interval of the difference to Full-FT in points; of free answers
exact matches and ROUGE-L in percent, and their perplexity."""
OVER: dict[str | None, Callable[[list[float]], list[float]]] = {
    None: list,
    "most": lambda values: [max(values)],
    "least": lambda values: [min(values)],
    "range": lambda values: [min(values), max(values)],
    "pooled": lambda values: [sqrt(fmean(value**2 for value in values))],
}
CHANCE = "chance"
"""A row of a table that tells the column of this name, which all rows share."""
WORDS = r"points?|times|s|seconds?|minutes?|hours?|[KMG]i?B|nats|tokens/s|[GT]FLOP(?:/s)?"
MEASURED = re.compile(rf"(?<![\w.])\d+(?:[.,:]\d+)*\s?(?:%|(?:{WORDS})\b)|(?<=\s)\d+:\d\d\b")
"""A number with a unit of what is measured, or minutes and seconds."""
CODE = re.compile(r"`[^`]*`|\]\([^)]*\)")
"""Code and addresses, whose numbers are names."""


@dataclass(frozen=True)
class Block:
    """Lines of a page between two empty ones, and the number of the first, from 1."""

    page: Path
    line: int
    lines: tuple[str, ...]

    @property
    def sources(self) -> list[str]:
        """What its comments say."""
        return COMMENT.findall("\n".join(self.lines))

    def where(self, line: int = 0) -> str:
        """A line of it, in words."""
        return f"{self.page}, line {self.line + line}"


def blocks(page: Path) -> Iterator[Block]:
    """Blocks of a page, but those of code."""
    found: list[str] = []
    start, fenced = 1, False
    for number, line in enumerate([*page.read_text(encoding="utf-8").splitlines(), ""], start=1):
        fence = line.startswith("```")
        if found and (fence or fenced or not line.strip()):
            yield Block(page, start, tuple(found))
            found = []
        fenced ^= fence
        if not (fence or fenced) and line.strip():
            start = start if found else number
            found.append(line)


def problems(pages: Sequence[Path], root: Path = Path()) -> list[str]:
    """A line for each number without a source, or that is not its source's.

    Args:
        root: folder that sources are named from.
    """
    return [one for page in pages for block in blocks(page) for one in _of_block(block, root)]


def _of_block(block: Block, root: Path) -> Iterator[str]:
    """What is wrong with a block."""
    cells = [match for text in block.sources if (match := CELLS.fullmatch(text))]
    read = [match for text in block.sources if (match := READ_OFF.fullmatch(text))]
    odd = [text for text in block.sources if text.startswith(("cells of", "read off"))]
    if len(odd) > len(cells) + len(read):
        yield f"{block.where()}: a source is not of its form; {HOW}"
    for match in (*cells, *read):
        if not (root / match["file"]).is_file():
            yield f"{block.where()}: {match['file']}, its source, does not exist"
            return
    for match in read:
        today = files.sha256_of(root / match["file"])
        if not today.startswith(match["hash"]):
            yield (
                f"{block.where()}: what was read off {match['file']} is of another one "
                f"({match['hash']}); read it anew, and give the hash of today's ({today[:8]})"
            )
    for match in cells:
        yield from _of_table(block, root / match["file"], match["key"], match["value"])
    of = next((one for one in read if one["key"]), None)
    told: set[int] = set()
    yield from _of_sentences(block, root, of, told)
    if cells or any(map(OTHERS.match, block.sources)) or (read and of is None):
        return
    sizes = _sizes(_rows(root / of["file"], of["key"], of["value"])) if of else set()
    text = _blanked("\n".join(block.lines))
    for found in MEASURED.finditer(text):
        if not {found.start(), found.start() - 1} & told and found[0] not in sizes:  # or a sign
            where = block.where(text.count("\n", 0, found.start()))
            of_none = "is of no expression" if of else "has no source"
            yield f"{where}: {found[0].strip()!r} {of_none}; {HOW}"


HOW = "name it in a comment (trimllm_paper.integrity.pages says how)"


def _blanked(text: str) -> str:
    """Text with spaces for what is no text of a page: comments, code and addresses."""
    for pattern in (COMMENT, CODE):
        text = pattern.sub(lambda found: re.sub(r"\S", " ", found[0]), text)
    return text


def _sizes(kept: Sequence[Mapping[str, str]]) -> set[str]:
    """Sizes in percent of rows, which name them, and of intervals."""
    sizes = {row["kept_percent"] for row in kept if row.get("kept_percent")}
    sizes |= {size[1] for row in kept if (size := re.search(r"_(\d\d)\b", row["row"]))}
    return {f"{float(size):.0f}%" for size in sizes} | {"95%"}


def _of_sentences(
    block: Block, root: Path, read: re.Match[str] | None, follow: set[int]
) -> Iterator[str]:
    """Numbers that do not follow from the expressions before them; `follow` gets the places in the
    block of all that expressions tell."""
    text = "\n".join(block.lines)
    for comment in COMMENT.finditer(text):
        if not comment[1].startswith("="):
            continue
        before = text[: comment.start()]
        where, expression = block.where(before.count("\n")), " ".join(comment[1].split())
        match = FOLLOWS.fullmatch(expression)
        source = match if match and match["file"] else read
        if match is None or source is None or not before.rpartition("\n")[2].strip():
            yield f"{where}: an expression is not of its form, of no file or begins a line; {HOW}"
            continue
        file = root / source["file"]
        try:
            values = _following(match, _rows(file, source["key"], source["value"]))
        except (OSError, LookupError, TypeError, ValueError, ZeroDivisionError) as error:
            yield f"{where}: {file} does not have {expression!r} ({error!r})"
            continue
        behind = NUMBER.finditer(_blanked(text), comment.end())
        numbers = [*islice(behind, len(values))]
        told = [number[0] for number in numbers]
        follow |= {number.start() for number in numbers}
        same = [_rounds_to(value, one) for value, one in zip(values, told, strict=False)]
        if len(same) < len(values) or not all(same):
            right = ", ".join(f"{value:.6g}" for value in values)
            yield f"{where}: {', '.join(told)} should be {right}: {expression[2:]} in {file}"


def _following(match: re.Match[str], kept: Sequence[Mapping[str, str]]) -> list[float]:
    """Values of an expression: of each call those of each column. Raises `LookupError`, `TypeError`
    or `ValueError` for what the file does not have."""
    cells = {(row["row"], row["column"]): row for row in kept}

    def cell(row: str, column: str) -> Cell:
        return lambda field: float(cells[row, column][field])

    found = []
    for name, rows in CALL.findall(match["calls"]):
        for column in match["columns"].split():
            asked = [cell(row.strip(), column) for row in rows.split(",")]
            found.append(FUNCTIONS[name](*asked))
    return OVER[match["over"]](found)


def _rows(file: Path, key: str, value: str) -> list[dict[str, str]]:
    """Rows of a table's CSV whose column `key` is `value`."""
    return [row for row in _parsed(file.read_text("utf-8")) if row.get(key) == value]


@lru_cache(maxsize=16)
def _parsed(text: str) -> list[dict[str, str]]:
    """Rows of CSV, which a page asks for at every number."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _of_table(block: Block, file: Path, key: str, value: str) -> Iterator[str]:
    """Cells of a table of a page that are not those of a table's CSV."""
    kept = _rows(file, key, value)
    told = {(row["row"], row["column"]): row["measured"] for row in kept}
    told |= {(CHANCE, row["column"]): row[CHANCE] for row in kept}
    table = [(n, line) for n, line in enumerate(block.lines) if line.startswith("|")]
    columns = [re.sub(r"\W", "", text).lower() for text in _split(table[0][1])] if table else []
    for number, line in table[2:]:
        name = (COMMENT.findall(line) or [""])[0]
        found = [cell.strip("*†% ") for cell in _split(COMMENT.sub("", line))]
        # A cell past the last heading has no column.
        for column, text in [*zip_longest(columns, found, fillvalue="")][1:]:
            if not re.search(r"\d", text):
                continue
            kept_value = told.get((name, column))
            if not re.fullmatch(r"\d+(\.\d+)?", text):
                yield f"{block.where(number)}: {text!r} is no single number, as {file} has it"
            elif not kept_value:
                of = f"row {name!r}" if name else "a row without a name"
                problem = f"{text} has no source: {file} has no {of}, {column!r}"
                yield f"{block.where(number)}: {problem}"
            elif not _rounds_to(float(kept_value), text):
                yield f"{block.where(number)}: {text} is {float(kept_value):.6g} in {file}"


def _split(line: str) -> list[str]:
    """Cells of a table's row."""
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _rounds_to(value: float, printed: str) -> bool:
    """Whether a number is printed as it is, or rounded."""
    half = 0.5 * 10.0 ** -len(printed.partition(".")[2])
    return abs(value - float(printed)) <= half * (1 + 1e-9)
