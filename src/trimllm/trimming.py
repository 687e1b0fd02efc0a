"""Algorithm 1 of the paper, progressive layer dropping: scan, choose, drop, train, again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from trimllm import select
from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.kept import epochs_for
from trimllm.base.machine import free_memory
from trimllm.base.names import PAPER_CRITERION
from trimllm.data import Document, all_free, read_documents
from trimllm.scanning import Scan, from_record, sample_of, scan, to_record
from trimllm.select import Selection, choose, trainable_blocks
from trimllm.sublayers import drop, original_units, units
from trimllm.train import (
    NO_PASS,
    PassRecord,
    Teacher,
    TrainJob,
    TrainSettings,
    make_checkpoint,
    size_of,
    train_pass,
)
from trimllm.train.batching import documents_of_epoch


@dataclass(frozen=True)
class ScanSettings:
    """Settings of the scans of a chain."""

    documents: int | None = None  # drawn anew for every scan (section 3.3); None takes all
    row_budget: int | None = None  # see `trimllm.scan`


@dataclass(frozen=True)
class Resume:
    """Where a chain resumes."""

    epoch: int = 0  # number of the first epoch; the model is as the one before left it
    trainable: Sequence[int] | None = None  # the blocks that epoch 0 chose; None chooses them
    scan: Scan | None = None  # of this very model, in place of the first scan


def trim(
    model: nn.Module,
    tokenizer: Any,
    *,
    train: Sequence[Document],
    calibration: Sequence[Document],
    until: float,
    step: int = 1,
    criterion: str = PAPER_CRITERION,
    ratio: float = 0.25,
    documents: int | None = None,
    settings: TrainSettings = TrainSettings(),  # noqa: B008  # it is frozen
    scans: ScanSettings = ScanSettings(),  # noqa: B008
    teacher: Teacher | None = None,
    resume: Resume = Resume(),  # noqa: B008
) -> Iterator[Epoch]:
    """Trim a model in place (Algorithm 1, section 3.2); each iteration runs an epoch.

    Epoch 0 drops nothing: it scans, chooses the blocks to train for the whole run, and trains. A
    chain saved in float32 after any epoch goes on with `resume`, to the same bytes.

    Args:
        train, calibration: documents to train on; others, which scans draw from.
        until: sublayers to drop in all; below 1 the share of the full model's sublayers to keep.
            The chain ends at the nearest end of an epoch.
        step: sublayers dropped an epoch.
        criterion: what to drop by; a name of `trimllm.select`, or `package.module:name`.
        ratio: share r of the blocks to train (section 3.4).
        documents: training documents an epoch; None takes all, 0 trains nothing.
        teacher: needed with `kl` or `hidden` in the settings.

    Raises:
        UserError: a criterion that is unknown or for other documents, a model that is not where
            `resume` says, no documents, a loss that is not a number.
    """
    select.criterion(criterion, all_free(calibration, "calibration"))
    epochs, trainable = _epochs(model, step, until, resume.epoch), resume.trainable
    for number in range(resume.epoch, epochs):
        scores = resume.scan if number == resume.epoch else None
        scan_seconds = 0.0
        if scores is None:
            sample = sample_of(calibration, scans.documents, settings.seed, number)
            options: dict[str, Any] = {"dtype": settings.dtype, "row_budget": scans.row_budget}
            options["label"] = f"scan before epoch {number}"
            scores = scan(model, tokenizer, sample, **options)
            scan_seconds = scores.seconds
        trainable = trainable or trainable_blocks(scores, criterion, ratio)
        selection = Selection()
        if number:
            selection = choose(scores, criterion, step)
            drop(model, selection.dropped)
        training = NO_PASS
        if documents != 0:
            chosen = documents_of_epoch(train, number, documents, settings.seed)
            options = {"epoch": number, "epochs": epochs, "teacher": teacher, "blocks": trainable}
            options["label"] = f"epoch {number}/{epochs - 1}"
            training = train_pass(model, tokenizer, chosen, settings, **options)
        facts = (scores, scan_seconds, training, settings, size_of(model))
        yield Epoch(number, epochs, [*trainable], selection, *facts)


@dataclass(frozen=True)
class Epoch:
    """One epoch of a chain, as it was when it ended."""

    number: int  # from 0
    epochs: int  # of the whole chain
    trainable: list[int]  # original blocks that are trained
    selection: Selection  # the sublayers dropped in this epoch, ties and margin
    scan: Scan = field(repr=False)  # by which they were chosen
    scan_seconds: float  # 0 where the scan was given
    training: PassRecord  # loss, steps, tokens of the pass that followed
    settings: TrainSettings = field(repr=False)
    size: dict[str, int]  # sublayers and parameters left

    @property
    def dropped(self) -> int:
        """Sublayers of the full model that are gone so far."""
        return self.size["units_total"] - self.size["units_left"]

    @property
    def loss(self) -> float | None:
        """Mean loss of the answers' tokens in this epoch's pass, nats; None without training."""
        return self.training.loss

    def record(self) -> dict[str, Any]:
        """Everything as a JSON object."""
        selection = asdict(self.selection)
        return {
            "epoch": self.number,
            "epochs": self.epochs,
            "trainable_blocks": self.trainable,
            "units_dropped": [list(unit) for unit in selection.pop("dropped")],
            **selection,
            "scan": to_record(self.scan),
            "training": asdict(self.training),
            "seconds": {"scan": self.scan_seconds, "train": self.training.seconds},
            "settings": asdict(self.settings),
            **self.size,
        }


def make_epoch(
    job: TrainJob,
    directory: str | Path,
    *,
    seal: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    **options: Any,
) -> dict[str, Any]:
    """One epoch of a chain from files to a checkpoint: it scans and drops in this process, and
    trains as `make_checkpoint`, whose arguments it takes; returns the epoch's sealed record.

    The job's arguments are `start`, the number of the epoch, `trainable` of `Resume`, `scans`,
    fields of `ScanSettings`, and `until`, `step`, `criterion`, `ratio`, `documents` of `trim`.
    """
    arguments, settings = dict(job.arguments), TrainSettings(**job.settings)
    number, documents = arguments.pop("start"), arguments.pop("documents", None)
    initial = from_record(files.read_json(job.scan)["scan"]) if job.scan else None
    resume = Resume(number, arguments.pop("trainable", None), initial)
    scans = ScanSettings(**arguments.pop("scans"))
    model, tokenizer = job.load()
    arguments |= {"scans": scans, "resume": resume, "settings": settings}
    arguments |= {"train": (), "documents": 0, "calibration": read_documents(job.calibration or "")}
    epoch = next(trim(model, tokenizer, **arguments))
    passes = (number, number if documents == 0 else number + 1)
    training = {"trainable": epoch.trainable, "epochs": epoch.epochs, "documents": documents}
    loaded: tuple[nn.Module, Any] | None = (model, tokenizer)
    if job.processes > 1:  # they read the checkpoint, and need the memory
        training["units"] = epoch.selection.dropped
        del model
        loaded = None
        free_memory(job.device)

    def complete(trained: dict[str, Any]) -> dict[str, Any]:
        passed = [*trained["passes"], asdict(NO_PASS)][0]
        record = epoch.record() | {key: trained[key] for key in ("processes",) if key in trained}
        record |= {"training": passed, "held_back": [*trained["held_back"], None][0]}
        record["seconds"]["train"] = passed["seconds"]
        return seal(record)

    job = replace(job, arguments=training | {"passes": passes}, calibration=None, scan=None)
    return make_checkpoint(job, directory, seal=complete, loaded=loaded, **options)


def _epochs(model: nn.Module, step: int, until: float, start: int) -> int:
    """Number of epochs of a chain, epoch 0 included."""
    total = original_units(model)
    gone = total - len(units(model))
    # What was gone before the chain began: a model may be trimmed already.
    before = gone - step * max(0, start - 1)
    if step < 1 or before < 0:
        raise UserError(
            f"epoch {start} of a chain that drops {step} sublayers an epoch cannot follow on a "
            f"model that lacks {gone}"
        )
    drops = epochs_for((until if until >= 1 else total * (1 - until)) - before, step)
    if until <= 0 or before + step * drops >= total:
        raise UserError(
            f"until = {until}: {step} sublayers at a time, it drops {before + step * drops} of "
            f"{total}; keep at least one"
        )
    return 1 + drops
