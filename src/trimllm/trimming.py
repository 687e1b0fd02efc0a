"""Algorithm 1 of the paper, progressive layer dropping: scan, choose, drop, train, again."""

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
from trimllm.sublayers import drop, original_units, size_of, units
from trimllm.train import PassRecord, Teacher, TrainJob, TrainSettings, make_checkpoint, train_pass
from trimllm.train.batching import documents_of_epoch


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
    teacher: Teacher | None = None,
    scan_documents: int | None = None,
    row_budget: int | None = None,
    start: int = 0,
    trainable: Sequence[int] | None = None,
    initial: Scan | None = None,
) -> Iterator[Epoch]:
    """Trim a model in place (Algorithm 1, section 3.2); each iteration runs an epoch.

    Epoch 0 drops nothing: it scans, chooses the blocks to train for the whole run, and trains. A
    chain saved in float32 after any epoch goes on with `start` and `trainable`, to the same bytes.

    Args:
        train, calibration: documents to train on; others, which scans draw from.
        until: sublayers to drop in all; below 1 the share of the full model's sublayers to keep.
            The chain ends at the nearest end of an epoch.
        step: sublayers dropped an epoch.
        criterion: what to drop by; a name of `trimllm.select`, or `package.module:name`.
        ratio: share r of the blocks to train (section 3.4).
        documents: training documents an epoch; None takes all, 0 trains nothing.
        teacher: needed with `kl` or `hidden` in the settings.
        scan_documents: documents of each scan, drawn anew (section 3.3); None takes all.
        row_budget: of the scans, see `trimllm.scan`.
        start: number of the first epoch; the model is as the one before left it.
        trainable: the blocks that epoch 0 chose; None chooses them.
        initial: a scan of this very model, in place of the first one.

    Raises `UserError`: a criterion that is unknown or for other documents, a model that is not
    where `start` says, no documents, a loss that is not a number.
    """
    select.criterion(criterion, all_free(calibration, "calibration"))
    epochs = _epochs(model, step, until, start)
    for number in range(start, epochs):
        scores, initial, scan_seconds = initial, None, 0.0
        if scores is None:
            sample = sample_of(calibration, scan_documents, settings.seed, number)
            options: dict[str, Any] = {"dtype": settings.dtype, "row_budget": row_budget}
            options["label"] = f"scan before epoch {number}"
            scores = scan(model, tokenizer, sample, **options)
            scan_seconds = scores.seconds
        trainable = trainable or trainable_blocks(scores, criterion, ratio)
        selection = Selection()
        if number:
            selection = choose(scores, criterion, step)
            drop(model, selection.dropped)
        training = PassRecord()
        if documents != 0:
            chosen = documents_of_epoch(train, number, documents, settings.seed)
            options = {"epoch": number, "epochs": epochs, "teacher": teacher, "blocks": trainable}
            options["label"] = f"epoch {number}/{epochs - 1}"
            training = train_pass(model, tokenizer, chosen, settings, **options)
        facts = (scores, scan_seconds, training, settings, size_of(model))
        yield Epoch(number, epochs, [*trainable], selection, *facts)


def make_epoch(
    job: TrainJob,
    directory: str | Path,
    *,
    seal: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    **options: Any,
) -> dict[str, Any]:
    """One epoch of a chain from files to a checkpoint: it scans and drops in this process, and
    trains as `make_checkpoint`, whose arguments it takes; returns the epoch's sealed record.

    The job's arguments are those of `trim`.
    """
    arguments: dict[str, Any] = {"settings": TrainSettings(**job.settings), **job.arguments}
    documents = arguments.pop("documents", None)
    arguments |= {"train": (), "documents": 0, "calibration": read_documents(job.calibration or "")}
    if job.scan:
        arguments["initial"] = from_record(files.read_json(job.scan)["scan"])
    model, tokenizer = job.load()
    epoch = next(trim(model, tokenizer, **arguments))
    passes = (epoch.number, epoch.number + (documents != 0))
    training = {"trainable": epoch.trainable, "epochs": epoch.epochs, "documents": documents}
    training["units"] = epoch.selection.dropped  # on other hardware the scan may choose others
    loaded = (model, tokenizer) if job.processes == 1 else None
    if loaded is None:  # the processes read the checkpoint, and need the memory
        del model
        free_memory(job.device)

    def complete(trained: dict[str, Any]) -> dict[str, Any]:
        passed = PassRecord(**[*trained["passes"], {}][0])
        more = {key: trained[key] for key in ("processes",) if key in trained}
        more["held_back"] = [*trained["held_back"], None][0]
        return seal(replace(epoch, training=passed).record() | more)

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
