"""What a result file holds: one class for each kind, which alone reads and writes it.

A file holds the fields of its class, `schema` (the version of these classes) and `content_sha256`
(its seal). Fields are those that readers rely on; further ones are kept.
"""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trimllm.base.errors import UserError
from trimllm.base.files import content_hash, write_json
from trimllm_paper.kept_runs import read_json
from trimllm_paper.recipe import place_of

SCHEMA = 1
VERSION, SEAL, REMEDY = "schema", "content_sha256", "delete it and run again"
Units = list[tuple[int, Literal["attention", "mlp"]]]
"""Block and kind of sublayers."""
ABSENT = Field(default=None, exclude_if=lambda value: value is None)
"""A field that a file need not have; None where it has not."""


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a result with its hash, so that an edit by hand shows."""
    content = {key: value for key, value in content.items() if key != SEAL}
    return content | {SEAL: content_hash(json.dumps(content, sort_keys=True, allow_nan=False))}


class Part(BaseModel):
    """A part of a record."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, content: Any, path: str | Path) -> Self:
        """Content of a file. Raises `UserError` for the first field that is wrong."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise UserError(f"{path}: {field}: {first['msg']}; {REMEDY}")


class Record(Part):
    """What all result files have, and all that some need to: a scan of the untrained model holds
    its scores beside it (`trimllm.scanning.to_record`)."""

    model: str
    provenance: dict[str, Any]  # code, machine, data and settings behind it

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Raises `UserError` for a file that is missing, of another version, changed after it was
        written, incomplete, or in another place than it says."""
        content = read_json(path)
        if not isinstance(content, dict) or content.get(VERSION) != SCHEMA:
            raise UserError(f"{path} was made by another version of the code; {REMEDY}")
        if sealed(content)[SEAL] != content.get(SEAL):
            raise UserError(f"{path} was changed after it was written; {REMEDY}")
        record = cls.parse({k: content[k] for k in content.keys() - {SEAL, VERSION}}, path)
        record._check_place(path)
        return record

    def content(self) -> dict[str, Any]:
        """What its file holds, sealed."""
        return sealed({VERSION: SCHEMA, **self.model_dump(mode="json")})

    def write(self, path: str | Path) -> None:
        """Write the file atomically. Raises `UserError` for another record's path."""
        self._check_place(path)
        write_json(path, self.content())

    def _check_place(self, path: str | Path) -> None:
        place = place_of(path)
        for key in ("model", "domain", "recipe", "task", "hardware", "format", "engine"):
            lies, says = str(getattr(place, key) or ""), getattr(self, key, None)
            if lies and lies != says:
                raise UserError(f"{path} says {key} {says!r} but lies under {lies!r}; {REMEDY}")


class OfRecipe(Record):
    """A record about a checkpoint, and keys of the chain it belongs to. Of a dropping at once
    `criterion` is the rule and `step` all its sublayers. The proof of a compressed checkpoint is
    all that it says beside them: `method`, and its loss (`trimllm.compress.run`)."""

    domain: str | None = None  # that it was trained on; None of a shape
    recipe: str
    seed: int  # of the run that made it
    criterion: str | None = None
    ratio: float | None = None
    step: int | None = None


class Evaluation(OfRecipe):
    """Answers of a checkpoint to the documents of one task; a free answer is right where it matches
    the reference exactly."""

    task: str
    tested: str  # domain of the task
    n: int  # documents
    acc: float  # percent
    chance: float | None  # percent that blind guessing gets
    answer_loss: float | None = ABSENT  # nats a token of the right answers
    correct: list[int]  # 1 or 0 a document, in order
    answers: dict[str, Any] | None = ABSENT  # of free ones: `trimllm.evaluate.run`
    document_hashes_sha256: str  # equal where answers can be paired
    bytes: int  # of the weight files, and of the pretrained checkpoint's
    bytes_full: int
    units_kept: int
    units_total: int
    stand_in: str | None = None  # what the documents are, if not the column's own data set


class HeldBackScore(Part):  # on documents that are neither trained nor reported on
    accuracy: float | None  # percent; None of free answers
    likelihood: float  # nats, mean log-probability of the right choice, or of a free answer's token
    documents: int


class Trained(OfRecipe):
    units_left: int
    units_total: int  # of the full model
    processes: dict[str, Any] | None = None  # who trained, where there were several


class Epoch(Trained):
    """An epoch of a chain: scan, drop, train a pass. Epoch 0 drops nothing. It always stays."""

    epoch: int
    trainable_blocks: list[int]  # of the whole run
    units_dropped: Units  # in this epoch, in the order of the choice
    ties: int | None  # candidates that equalled the last sublayer chosen; None without a drop
    margin: float | None  # score of the last sublayer chosen over the best one left
    scan: dict[str, Any]  # every score: `trimllm.scanning.to_record`
    training: dict[str, Any]  # `trimllm.train.PassRecord`
    seconds: dict[Literal["scan", "train"], float]  # a scan of another job takes none
    held_back: HeldBackScore | None = None  # after the pass, before annealing


class Training(Trained):
    """Fine-tuning, full or sparse (`ratio` r), annealing, or a dropping at once."""

    passes: list[dict[str, Any]]  # `trimllm.train.PassRecord`
    held_back: list[HeldBackScore] = []  # after each pass; one without a pass
    kept_pass: int | None = None  # whose weights these are, from 0
    units_dropped: Units | None = None  # at once


class Export(OfRecipe):
    """Proof of an export (`trimllm.export`): what an engine says of it, against transformers."""

    format: str  # "gguf_q8_0", "padded", ...
    bytes: dict[str, int]  # of tensors, in all and by part; files that hold them, and as expected
    proof: dict[str, Any]  # `trimllm.exporting.proof.judge`


class Throughput(OfRecipe):
    """A measurement of `trimllm.throughput`; without a baseline it is of the full model itself.
    Speeds have `median`, `low` and `high` of rounds (`trimllm.throughput.result`)."""

    hardware: str
    pattern: str | None = None  # of a shape, in words
    decode_tokens_per_second: dict[str, Any]
    prefill_tokens_per_second: dict[str, Any]
    baseline: dict[str, Any] | None = ABSENT  # the full model, measured in turn
    speedup: dict[str, Any] | None = ABSENT
    bytes: dict[str, int]
    units_kept: int
    units_total: int
    share_of_copy: float
    peak_memory_bytes: int


class Engines(Record):
    """Full and trimmed models in one engine, timed in turn; each as in `Throughput`, with recipe,
    format, batch size, `version`, `kernel` and `precision` in words, and `proof` of an export."""

    hardware: str
    engine: str
    threads: int
    device: str
    measured: list[dict[str, Any]]


class Split(Part):
    documents: int


class DataReport(Part):
    """A prepared domain's report, which the library writes (`trimllm.data.prepare`), unsealed:
    results carry the hashes of the files that it names."""

    domain: str
    files: dict[str, str]  # sha256 of every file, by its path beside the report
    splits: dict[str, Split]  # train, calibration, held_back, tests/TASK
    licence: str | None = None
    stand_in: str | None = None

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Raises `UserError` for a file that is missing, or is no such report."""
        return cls.parse(read_json(path), path)


class Answers(OfRecipe):
    """What a checkpoint answers to a few held-back documents of one's own data, and how well it
    still knows other text (`trimllm_paper.own.answers`)."""

    documents: list[dict[str, Any]]  # prompt, message of a chat, right, answer, correct, F1
    perplexity: float  # of the neutral text, and its tokens
    tokens: int


class Candidate(Part):
    """A checkpoint that may be chosen, by what is known of it without any test document."""

    recipe: str
    free: bool  # whether answers are free text
    accuracy: float  # percent of held-back documents; of free answers the next, in percent
    likelihood: float  # as in HeldBackScore; e to it is the probability of a right token, or choice
    documents: int
    bytes: int  # of the export, as far as it is known before
    tokens_per_second: float  # median
    units_kept: int


class Choice(Record):
    """Which checkpoint was chosen, of which, and why (`trimllm_paper.own.choice`)."""

    domain: str
    hardware: str  # where speed was measured
    format: str  # of the export
    required: dict[str, float]
    candidates: list[Candidate]  # full_ft first
    recipe: str
    missed: dict[str, float]  # requirement that is not met -> by which share
    summary: str  # in one line

    @property
    def chosen(self) -> Candidate:
        return next(one for one in self.candidates if one.recipe == self.recipe)
