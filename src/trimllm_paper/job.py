"""What every script of the workflow does around its one call of the library."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from trimllm.base import files, kernels
from trimllm.base.errors import UserError
from trimllm_paper import driver, gpus, told
from trimllm_paper.data_records import DataReport
from trimllm_paper.environment import adapters_of, set_environment
from trimllm_paper.integrity import checks, locks
from trimllm_paper.integrity.provenance import Run, recorded

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (
    *(errno.ESTALE, errno.EBUSY, errno.EIO, errno.EROFS),
    *(errno.EXDEV, errno.EACCES, errno.EPERM),
)


def system_fault(error: BaseException) -> str | None:
    """What a file system refused and what to do about it; None for any other error."""
    # safetensors and PyTorch pass on the system's words without the number.
    number = error.errno if isinstance(error, OSError) else None
    words = str(error) if number is None else os.strerror(number)
    if any(os.strerror(one) in words for one in NO_SPACE):
        return f"no space left ({error}); make room and run again"
    if number in REFUSED and getattr(error, "filename", None) is not None:
        return f"the file system refused it ({error}); mend that and run again"
    return None


class Output:
    """Where a job's words go: all to its log; to the terminal what concerns who waits for it.

    Also what libraries, their threads and other processes write past Python, for the process's own
    standard output and error become the log. The terminal gets what it is told (`tell`); how far
    the work is, the run reads from the log (`snakemake_logger_plugin_trimllm.live`).
    """

    def __init__(self, log: Path, mark: str) -> None:
        self.mark = mark
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        self.terminal = os.fdopen(os.dup(2), "w", encoding="utf-8", buffering=1)
        self.log = log.open("w", encoding="utf-8", buffering=1)
        for number in (1, 2):
            os.dup2(self.log.fileno(), number)

    def write(self, text: str) -> int:
        self.log.write(text)
        self.log.flush()
        return len(text)

    def tell(self, text: str) -> None:
        """Write a line to the terminal and to the log, if there is room for it (`told`)."""
        line = f"{told.over_live_lines(self.terminal)}[{self.mark}] {text}\n"
        self.terminal.write(line if self.terminal.isatty() else told.room_for(line))
        self.terminal.flush()
        with suppress(OSError):
            self.write(f"{text}\n")

    def flush(self) -> None:
        self.log.flush()

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self.log.fileno()


class Job:
    """Environment, log, lock and clear errors of one job.

    Enter it before anything heavy is imported: it sets the number of threads and shuts the network.
    A `UserError` ends the job with its one line; any other exception with its traceback. While it
    runs it holds the lock of its outputs, so that no two jobs write one output, whoever started
    them: a job that had to wait and finds its work done ends at once.

    Args:
        snakemake: the object that Snakemake gives to a script.
        online: whether the job may use the network; never with a mirror.

    Attributes:
        how: what the job depends on (`lineage.Job.how`).
        wildcards: of its rule, by name.
        inputs: lists of files by name, also where there is one.
    """

    def __init__(self, snakemake: Any, online: bool = False) -> None:
        self.snakemake = snakemake
        self.online = online and snakemake.config["mirror"] is None
        self.how: Mapping[str, Any] = snakemake.params.get("how", {})
        self.wildcards: dict[str, str] = dict(snakemake.wildcards.items())
        self.inputs = {
            name: [found] if isinstance(found, str) else list(found)
            for name, found in snakemake.input.items()
        }

    def __enter__(self) -> Job:
        set_environment(self.snakemake.threads, self.online)
        os.environ.update(adapters_of(self.snakemake.config["models"]))
        _keep_freed_memory()
        # Imports leave thousands of modules and no garbage: look for it a hundred times less often.
        gc.set_threshold(70_000)
        path = Path(str(self.snakemake.log[0]))
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [self.snakemake.rule.removesuffix("_kept"), *map(str, self.snakemake.wildcards)]
        self.output = sys.stderr = sys.stdout = Output(path, " ".join(words))
        self._held = ExitStack()
        try:
            # Who submitted this job could not ask the driver of the machine that it runs on.
            on_gpu = self.snakemake.resources.get("gpu") and self.compute["device"] != "cpu"
            if on_gpu and (problem := driver.unusable()):
                raise UserError(problem)
            if on_gpu and not is_submitted() and gpus.visible():
                count = self.snakemake.resources["gpu"]
                self._held.enter_context(gpus.claim(count, gpus.LOCKS))
            if on_gpu and self.snakemake.rule == "full_ft" and is_submitted():
                self._refuse_without_kernels()
            self._lock_outputs(" ".join(words))
            self.run = Run(self.how.get("code", ""))
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _refuse_without_kernels(self) -> None:
        """End before hours of training where what is compressed after it could not run: who
        submits knows nothing of this node. (On its own machine a run has looked at what it does.)
        """
        made = [name for name in self.snakemake.config["compress"]["methods"] if "int4" in name]
        if made and (lacking := kernels.four_bit_lacks("cuda")):
            raise UserError(
                f"{', '.join(made)} would fail on this machine, where kernels need {lacking}; "
                "install that, or train without them in compress.methods, to be named there again "
                "for nodes that have it: nothing is trained anew"
            )

    def _lock_outputs(self, what: str) -> None:
        """Wait until nobody else writes the outputs; end if they were made meanwhile."""
        outputs = [Path(path) for path in self.snakemake.output]
        folder = Path(self.snakemake.config["results"], locks.FOLDER)
        name = files.content_hash(str(outputs[0].resolve()))[:32]
        waited = self._held.enter_context(
            locks.exclusive(folder / name, what=what, output=str(outputs[0]), tell=self.output.tell)
        )
        if waited and all(path.is_file() for path in outputs):
            made = {recorded(p).get("config_hash") for p in outputs if p.suffix == ".json"}
            if self.snakemake.params.get("config_hash") in made:
                self.output.tell("made by another job meanwhile; it is kept")
                sys.exit(0)
        for path in {path.parent for path in outputs} | set(outputs):
            files.remove_leftovers(path)
        _end_future(self.snakemake.input, folder.parent, (folder / name).stat().st_mtime)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        gc.freeze()  # what is left goes with the process: the interpreter need not look at it again
        self._held.__exit__(kind, error, trace)
        if isinstance(error, UserError):
            self.output.tell(f"error: {error}")
        elif error is not None and (fault := system_fault(error)):
            self.output.tell(f"error: {fault}")
        elif isinstance(error, Exception):
            traceback.print_exception(error, file=sys.stderr)
            what = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            self.output.tell(
                f"error: {what} (not foreseen: run the same command again; if it ends so again, "
                f"report it with {self.snakemake.log[0]})"
            )
        if isinstance(error, Exception):
            sys.exit(1)

    @property
    def stamp(self) -> dict[str, str]:
        """What a result must carry that its own job shall know again."""
        return {"config_hash": self.snakemake.params.config_hash}

    def provenance(self, **extra: Any) -> dict[str, Any]:
        """Provenance of the job so far; its config hash covers what the job depends on."""
        manifest = self.snakemake.input.get("manifest")
        read = {"manifest_sha256": files.sha256_of(manifest)} if manifest else {}
        card = {"card": self.card()} if self.wildcards.get("model") else {}
        return self.run.record(rule=self.snakemake.rule, **self.stamp, **read, **card, **extra)

    def card(self) -> dict[str, Any]:
        """What model cards tell of the job's model and documents. It changes no result."""
        model = self.snakemake.config["models"].get(self.wildcards["model"], {})
        hub = model.get("base_model") or (model.get("source") or {}).get("hub")
        found = {"base_model": hub, "base_label": model.get("label")}
        found["license"] = model.get("license")
        if report := self.snakemake.input.get("report"):
            told = DataReport.read(report)
            licence = f" ({told.licence})" if told.licence else ""
            found["data"] = f"{told.stand_in or told.domain}{licence}"
        return found

    @property
    def compute(self) -> Mapping[str, Any]:
        """On what jobs run. It changes no result but by rounding, and so is no parameter."""
        return self.snakemake.config["compute"]

    def load(self, dtype: str) -> tuple[Any, Any]:
        """Model and tokenizer of the job's checkpoint, verified; streamed if it is to be.

        Args:
            dtype: type that it is to run in. Compressed weights have their own.
        """
        from trimllm import checkpoint  # only jobs with a model need torch
        from trimllm.base.precision import compute_dtype

        how, folder = self.how["loading"], Path(self.snakemake.input.manifest).parent
        device, place = how["device"], self.compute["weights_on"]
        compressed = kernels.method_of(files.read_json(folder / "config.json"))
        found = compute_dtype("float32" if compressed else dtype, device)
        if place != "device" and not compressed:
            return checkpoint.load_streamed(folder, dtype=found, device=device, place=place)
        trusted = how["trust_remote_code"]
        return checkpoint.load(folder, dtype=found, device=device, trust_remote_code=trusted)

    def training_file(self) -> str:
        """File of the training documents. Of a recipe's pool it is one of its own until the job
        ends: the first documents of the order that the seed gives."""
        path, pool = str(self.snakemake.input.train), self.how.get("pool")
        if pool is None:
            return path
        from trimllm.data.document import read_documents, write_documents
        from trimllm.train.batching import documents_of_epoch

        every, seed = read_documents(path), self.how["settings"]["seed"]
        folder = self._held.enter_context(tempfile.TemporaryDirectory(prefix="trimllm-"))
        drawn = documents_of_epoch(every, 0, min(pool, len(every)), seed)
        write_documents(own := Path(folder, "train.jsonl"), drawn)
        return str(own)

    def data_hashes(self) -> dict[str, str]:
        """sha256 of every file of the job's prepared domain, each file checked against it."""
        return checks.verified_data(Path(self.snakemake.input.report))


def is_submitted() -> bool:
    """Whether this is a job of a cluster: Slurm, PBS and Grid Engine number theirs so."""
    return any(name in os.environ for name in ("SLURM_JOB_ID", "PBS_JOBID", "JOB_ID"))


def _end_future(inputs: Iterable[str], results: Path, now: float) -> None:
    """Let results of a machine whose clock is ahead be of now: else what is made of them would be
    older, which Snakemake refuses. `now` is by the clock of the folder itself."""
    for path in map(Path, inputs):
        if path.stat().st_mtime > now and path.resolve().is_relative_to(results.resolve()):
            os.utime(path)


def _keep_freed_memory() -> None:
    """Let the C library reuse what a training step frees, instead of asking for new pages.

    Zeroing fresh pages takes a tenth of a step. Elsewhere than in glibc there is nothing to set.
    """
    top_pad, trim_threshold, mmap_threshold = -2, -1, -3
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, 32 << 20)
        libc.mallopt(trim_threshold, 1 << 30)
        libc.mallopt(top_pad, 64 << 20)
