"""What a result file holds: one class for each kind, which alone reads and writes it.

A file holds the fields of its class, `schema` (the version of these classes) and `content_sha256`
(its seal).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from trimllm.base.errors import UserError
from trimllm.base.files import content_hash, write_json
from trimllm_paper.kept_runs import read_json
from trimllm_paper.recipe import Recipe, place_of

SCHEMA = 1
"""Version of the classes below; a file of another one was made by another version of the code."""
VERSION, SEAL, REMEDY = "schema", "content_sha256", "delete it and run again"
Units = list[Annotated[tuple[int, Literal["attention", "mlp"]], Strict(False)]]
"""Block and kind of sublayers; a list of pairs in JSON."""
ABSENT = Field(default=None, exclude_if=lambda value: value is None)
"""A field that a file need not have; None where it has not."""


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a result with its hash, so that an edit by hand shows."""
    content = {key: value for key, value in content.items() if key != SEAL}
    return content | {SEAL: content_hash(json.dumps(content, sort_keys=True, allow_nan=False))}


class Part(BaseModel):
    """A part of a record. Types are strict: "1" is no number, 1.0 is no count."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Open(Part):
    """A part that keeps further fields."""

    model_config = ConfigDict(extra="allow")


class Record(Part):
    """What all result files have: a model's name, and code, machine, data, settings behind it."""

    PLACED: ClassVar[tuple[str, ...]] = ("model", "domain", "recipe")  # its path has these, too
    model: str
    provenance: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a file and check it against its seal, itself and its path.

        Raises `UserError`, in one line, for a file that is missing, of another version, changed
        after it was written, incomplete, or in another place than it says.
        """
        content = read_json(path)
        if not isinstance(content, dict):
            raise UserError(f"{path} is no JSON object; {REMEDY}")
        if content.get(VERSION) != SCHEMA:
            version = f"schema {content.get(VERSION)!r}, not {SCHEMA}"
            raise UserError(f"{path} was made by another version ({version}); {REMEDY}")
        if sealed(content)[SEAL] != content.get(SEAL):
            raise UserError(f"{path} was changed after it was written; {REMEDY}")
        fields = {key: value for key, value in content.items() if key not in (SEAL, VERSION)}
        record = _validated(cls, fields, path)
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
        place, kind = place_of(path), type(self).__name__.removesuffix("File").lower()
        if place.kind != kind:
            raise UserError(f"{path} is the path of another kind of result, not of {kind}")
        for key in self.PLACED:
            lies, says = str(getattr(place, key)), getattr(self, key)
            if lies != says:
                raise UserError(f"{path} says {key} {says!r} but lies under {lies!r}; {REMEDY}")


class OfRecipe(Record):
    """A record about a checkpoint: its recipe as text, and the keys of the chain it belongs to.

    Of a dropping at once `criterion` is the rule and `step` all its sublayers.
    """

    recipe: str
    seed: int  # of the run that made it
    criterion: str | None = None
    ratio: float | None = None
    step: int | None = None

    @property
    def parsed(self) -> Recipe:
        """The recipe."""
        return Recipe.parse(self.recipe)

    @model_validator(mode="after")
    def _has_chain(self) -> Self:
        try:
            of_chain = self.parsed.drop is not None
        except UserError as error:
            raise ValueError(str(error)) from None
        for key in ("criterion", "ratio", "step"):
            if of_chain and getattr(self, key) is None:
                raise ValueError(f"{self.recipe} was trimmed and lacks `{key}`")
        return self


class FreeAnswers(Part):
    """How near generated answers are to the references (`trimllm.evaluate.tasks`)."""

    exact_match: float  # percent, and so the next two: means over documents
    token_f1: float
    rouge_l: float
    perplexity: float  # of the reference answers, by token
    by_document: dict[Literal["token_f1", "rouge_l"], list[float]]  # 0 to 1, in order


class Evaluation(OfRecipe):
    """Answers of a checkpoint to the documents of one task.

    A free answer is right where it matches the reference exactly.
    """

    PLACED = ("model", "domain", "recipe", "task")
    domain: str  # that the checkpoint was trained on
    task: str
    tested: str  # domain of the task
    checkpoint: str  # folder
    n: int  # documents
    acc: float  # percent, and its standard error and interval
    stderr: float
    ci95: list[float]
    chance: float | None  # percent that blind guessing gets
    answer_loss: float | None = ABSENT  # nats a token of the right answers
    correct: list[int]  # 1 or 0 a document, in order
    answers: FreeAnswers | None = ABSENT
    document_hashes_sha256: str  # equal where answers can be paired
    bytes: int  # of the weight files, and of the pretrained checkpoint's
    bytes_full: int
    units_kept: int
    units_total: int
    stand_in: str | None = None  # what the documents are, if not the column's own data set
    source: str = "documents"  # what lm-eval was given
    lm_eval_version: str

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        answers = self.correct
        if len(answers) != self.n or not answers or not set(answers) <= {0, 1}:
            raise ValueError(f"`correct` is not a list of n = {self.n} 0s and 1s")
        if abs(100 * sum(answers) / self.n - self.acc) > 0.01:
            raise ValueError(f"acc {self.acc} is not the mean of `correct`")
        return self


class Pass(Part):
    """A pass of training (`trimllm.train.PassRecord`): tokens without padding, loss in nats."""

    documents: int
    tokens: int
    steps: int
    seconds: float
    loss: float | None
    loss_last_quarter: float | None
    trainable_parameters: int


class HeldBackScore(Part):
    """What a model makes of documents that are neither trained nor reported on."""

    accuracy: float | None  # percent; None of free answers
    likelihood: float  # nats, mean log-probability of the right choice, or of a free answer's token
    documents: int


class Seconds(Part):
    """Wall-clock time of an epoch's parts; a scan that another job made takes none."""

    scan: float
    train: float


class Trained(OfRecipe):
    """What records of training share."""

    domain: str
    epochs: int  # passes of the whole run
    settings: dict[str, Any]  # `trimllm.train.TrainSettings`
    parameters: int
    units_left: int
    units_total: int  # of the full model
    attention_left: int
    mlp_left: int
    processes: dict[str, Any] | None = None  # who trained, where there were several


class Epoch(Trained):
    """An epoch of a chain: scan, drop, train a pass. Epoch 0 drops nothing. It always stays."""

    epoch: int
    trainable_blocks: list[int]  # of the whole run
    units_dropped: Units  # in this epoch, in the order of the choice
    ties: int | None  # candidates that equalled the last sublayer chosen; None without a drop
    ties_attention: int | None = None
    ties_mlp: int | None = None
    margin: float | None  # score of the last sublayer chosen over the best one left
    scan: dict[str, Any]  # every score: `trimllm.scanning.to_record`
    training: Pass
    seconds: Seconds
    held_back: HeldBackScore | None = None  # after the pass, before annealing

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        gone = self.units_total - self.units_left
        if gone != self.parsed.dropped:
            raise ValueError(f"{gone} sublayers are gone, not as many as {self.recipe} says")
        return self


class Training(Trained):
    """Fine-tuning, full or sparse (`ratio` r), annealing, or a dropping at once (`rule`)."""

    trainable_blocks: list[int] | None  # None: all
    passes: list[Pass]
    held_back: list[HeldBackScore] = []  # after each pass
    kept_pass: int | None = None  # whose weights these are, from 0
    rule: str | None = None
    units_dropped: Units | None = None
    lora: dict[str, float] | None = ABSENT  # rank and alpha of adapters that stood in for it


class Compression(OfRecipe, Open):
    """Proof of a compressed checkpoint (`trimllm.compress`), with its engine's own facts."""

    domain: str
    method: str
    engine: str
    loss: dict[Literal["dense", "compressed", "yardstick"], float]  # nats a token, held-back texts
    yardstick: str
    margin: float  # by which the loss may exceed the yardstick's
    bytes: dict[str, int]  # of the weights by part, after and before
    bytes_dense: dict[str, int]


class Export(OfRecipe, Open):
    """Proof of an export (`trimllm.export`): what an engine says of it, against transformers."""

    PLACED = ("model", "domain", "recipe", "format")
    domain: str
    format: str  # "gguf_q8_0", "padded", ...
    bytes: dict[str, int]  # of tensors, in all and by part; files that hold them, and as expected
    bytes_checkpoint: dict[str, int]
    proof: dict[str, Any]  # `trimllm.exporting.proof.judge`


class ScanFile(Record):
    """The scan of the untrained model."""

    PLACED = ("model", "domain")
    domain: str
    scan: dict[str, Any]  # `trimllm.scanning.to_record`


class Quartiles(Part):
    """Median, quartiles and 95% interval of rounds, with the rounds themselves."""

    median: float
    q1: float
    q3: float
    low: float | None = ABSENT
    high: float | None = ABSENT
    samples: list[float] = []


class Sizes(Open):
    """Bytes of weights, by part and in all."""

    units: int
    total: int


class Baseline(Open):
    """The full model, measured in turn with another."""

    bytes: Sizes


class Timed(Open):
    """A model timed in turn with the full one; without a baseline, it is the full one itself."""

    decode_tokens_per_second: Quartiles
    prefill_tokens_per_second: Quartiles
    baseline: Baseline | None = ABSENT
    speedup: Quartiles | None = ABSENT
    bytes: Sizes
    units_kept: int
    units_total: int

    @model_validator(mode="after")
    def _has_speedup(self) -> Self:
        if (self.baseline is None) != (self.speedup is None):
            raise ValueError("lacks one of `baseline` and `speedup`")
        return self


class Throughput(OfRecipe, Timed):
    """A measurement of `trimllm.throughput`."""

    PLACED = ("hardware", "model", "recipe")
    hardware: str
    domain: str | None = None  # of a checkpoint
    compressor: str | None = None
    pattern: str | None = None  # of a shape, in words
    random_weights: bool  # whether it is a shape
    share_of_copy: float
    achieved_bytes_per_second: float
    peak_memory_bytes: int


class InEngine(Timed):
    """A model in a format of an engine and a batch size."""

    recipe: str
    format: str
    batch: int
    version: str  # of the engine, in words
    versions: dict[str, str | None]
    kernel: str
    precision: str
    proof: dict[str, Any] | None  # of an export: against transformers
    prefill_speedup: Quartiles | None = ABSENT


class Engines(Record):
    """Full and trimmed models in one engine, timed in turn."""

    PLACED = ("hardware", "model", "engine")
    hardware: str
    engine: str
    domain: str
    seed: int
    threads: int
    device: str
    protocol: dict[str, Any]
    interleaved: bool
    machine: dict[str, Any]
    measured: list[InEngine]


class Split(Open):
    """Documents of a split."""

    documents: int


class DataReport(Open):
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
        return _validated(cls, read_json(path), path)


P = TypeVar("P", bound=Part)


def _validated(kind: type[P], content: Any, path: str | Path) -> P:
    """Content as a record. Raises `UserError` for the first field that is wrong, in one line."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    name, message = ".".join(map(str, first["loc"])), first["msg"][:1].lower() + first["msg"][1:]
    known = {
        "missing": f"lacks `{name}`",
        "extra_forbidden": f"holds `{name}`, which no such file has",
        "value_error": str(first.get("ctx", {}).get("error")),
    }
    problem = known.get(first["type"], f"`{name}` is {first['input']!r:.60}: {message}")
    raise UserError(f"{path}: {problem}; {REMEDY}")
