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
from trimllm.base.names import ADAPTERS
from trimllm_paper import driver, gpus
from trimllm_paper.integrity import checks, locks
from trimllm_paper.integrity.provenance import Run, recorded
from trimllm_paper.recipe import place_of
from trimllm_paper.records import DataReport

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (
    *(errno.ESTALE, errno.EBUSY, errno.EIO, errno.EROFS),
    *(errno.EXDEV, errno.EACCES, errno.EPERM),
)


def file_system_error(error: BaseException) -> str | None:
    """What a file system refused and what to do about it; None for any other error."""
    # safetensors and PyTorch pass on the system's message without its number.
    number = error.errno if isinstance(error, OSError) else None
    message = str(error) if number is None else os.strerror(number)
    if any(os.strerror(one) in message for one in NO_SPACE):
        return f"no space left ({error}); make room and run again"
    if number in REFUSED and getattr(error, "filename", None) is not None:
        return f"the file system refused it ({error}); repair that and run again"
    return None


def set_environment(threads: int, online: bool, models: Mapping[str, Any]) -> None:
    """Threads, network, determinism and the user's own families; before torch is imported."""
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for name in ("TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    # Matrix products on a GPU give the same bytes each time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not online:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    families = {model["family"] for model in models.values()}
    os.environ[ADAPTERS] = " ".join(sorted(name for name in families if ":" in name))


class Output:
    """A job's standard output and error: its log. `tell` writes to the terminal, too.

    The process's own streams are replaced, so that the log also has what libraries, their threads
    and child processes write past Python.
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
        """Write a line to the terminal and to the log, if there is space for it."""
        self.terminal.write(f"[{self.mark}] {text}\n")
        with suppress(OSError):
            self.write(f"{text}\n")

    def flush(self) -> None:
        self.log.flush()

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self.log.fileno()


class Job:
    """Environment, log, locks and one-line errors of a job.

    Enter it before anything heavy is imported: it sets the number of threads and closes the
    network. A `UserError` ends the job with its one line; any other exception with its traceback
    in the log. A job holds the lock of its outputs, so that no two jobs write one output, whoever
    started them: one that had to wait and finds its work done ends at once.

    Args:
        snakemake: the object that Snakemake gives to a script.
        online: whether the job may use the network; never with a mirror.

    Attributes:
        params: what the job depends on beside its inputs (`lineage.Job.params`).
        wildcards: of its rule, by name.
        inputs: lists of files by name, also where there is one.
        data_hashes: sha256 of every file of the prepared domain that it reads, each verified.
    """

    def __init__(self, snakemake: Any, online: bool = False) -> None:
        self.snakemake = snakemake
        self.online = online and snakemake.config["mirror"] is None
        self.params: Mapping[str, Any] = snakemake.params.get("depends", {})
        self.wildcards: dict[str, str] = dict(snakemake.wildcards.items())
        self.inputs = {
            name: [value] if isinstance(value, str) else list(value)
            for name, value in snakemake.input.items()
        }
        self.data_hashes: dict[str, str] = {}
        self._held = ExitStack()

    def __enter__(self) -> Job:
        snakemake = self.snakemake
        set_environment(snakemake.threads, self.online, snakemake.config["models"])
        _reuse_freed_memory()
        gc.set_threshold(70_000)  # imports make many objects and no garbage
        log = Path(str(snakemake.log[0]))
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [snakemake.rule.removesuffix("_kept"), *map(str, snakemake.wildcards)]
        self.output = sys.stderr = sys.stdout = Output(log, " ".join(words))
        try:
            if snakemake.resources.get("gpu") and self.compute["device"] != "cpu":
                self._take_gpus(snakemake.resources["gpu"])
            self._lock_outputs(" ".join(words))
            if report := self.snakemake.input.get("report"):
                self.data_hashes = checks.verified_data(Path(report))
            self.run = Run(self.params.get("code", ""))
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def _take_gpus(self, count: int) -> None:
        """Check the driver of this machine, and take GPUs that no other local job has."""
        if problem := driver.unusable():
            raise UserError(problem)
        submitted = any(name in os.environ for name in ("SLURM_JOB_ID", "PBS_JOBID", "JOB_ID"))
        if not submitted and gpus.visible():  # a cluster gives its jobs their GPUs
            self._held.enter_context(gpus.claim(count, gpus.LOCKS))

    def _lock_outputs(self, what: str) -> None:
        """Wait until nobody else writes the outputs; end if they were made meanwhile."""
        outputs = [Path(path) for path in self.snakemake.output]
        lock = Path(self.snakemake.config["results"], locks.FOLDER)
        lock /= files.content_hash(str(outputs[0].resolve()))[:32]
        waited = self._held.enter_context(
            locks.exclusive(lock, what=what, output=str(outputs[0]), tell=self.output.tell)
        )
        if waited and all(path.is_file() for path in outputs):
            made = {recorded(p).get("config_hash") for p in outputs if p.suffix == ".json"}
            if self.snakemake.params.get("config_hash") in made:
                self.output.tell("made by another job meanwhile; it is kept")
                sys.exit(0)
        for path in {path.parent for path in outputs} | set(outputs):
            files.remove_leftovers(path)
        _touch_future_inputs(self.snakemake.input, lock.parents[1], lock.stat().st_mtime)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        gc.freeze()  # the interpreter need not look for garbage when it ends
        self._held.__exit__(kind, error, trace)
        if not isinstance(error, Exception):
            return
        problem = str(error) if isinstance(error, UserError) else file_system_error(error)
        if problem is None:
            traceback.print_exception(error, file=sys.stderr)
            first = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            problem = (
                f"{first} (unexpected: run the same command again; if it fails again, report it "
                f"with {self.snakemake.log[0]})"
            )
        self.output.tell(f"error: {problem}")
        sys.exit(1)

    @property
    def stamp(self) -> dict[str, str]:
        """The hash by which a result's own job recognizes it."""
        return {"config_hash": self.snakemake.params.config_hash}

    @property
    def seed(self) -> int | None:
        """Seed of the job's random numbers."""
        return self.params.get("seed", self.params.get("settings", {}).get("seed"))

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoint that it reads."""
        return Path(self.snakemake.input.manifest).parent

    @property
    def trusted(self) -> bool:
        """Whether code that lies beside its weights may run."""
        return bool(self.params["loading"]["trust_remote_code"])

    @property
    def facts(self) -> dict[str, Any]:
        """What a record beside a checkpoint says of its place and its chain."""
        place = place_of(self.snakemake.output.record)
        named = {"model": place.model, "domain": place.domain, "recipe": str(place.recipe)}
        return named | self.params["chain"] | {"provenance": self.stamp}

    def documents(self, name: str) -> list[Any]:
        """Documents of an input."""
        from trimllm.data import read_documents

        return read_documents(self.snakemake.input[name])

    def provenance(self, **extra: Any) -> dict[str, Any]:
        """Provenance of the job so far."""
        known: dict[str, Any] = {"rule": self.snakemake.rule, **self.stamp}
        if manifest := self.snakemake.input.get("manifest"):
            known["manifest_sha256"] = files.sha256_of(manifest)
        if self.wildcards.get("model"):
            known["card"] = self.card()
        if self.data_hashes:
            known["data_hashes"] = self.data_hashes
        if self.seed is not None:
            known["seed"] = self.seed
        return self.run.record(**known, **extra)

    def card(self) -> dict[str, Any]:
        """Model and data as model cards name them. It changes no result."""
        model = self.snakemake.config["models"].get(self.wildcards["model"], {})
        hub = model.get("base_model") or (model.get("source") or {}).get("hub")
        facts = {"base_model": hub, "base_label": model.get("label")}
        facts["license"] = model.get("license")
        if path := self.snakemake.input.get("report"):
            report = DataReport.read(path)
            licence = f" ({report.licence})" if report.licence else ""
            facts["data"] = f"{report.stand_in or report.domain}{licence}"
        return facts

    @property
    def compute(self) -> Mapping[str, Any]:
        """Where jobs run. It changes results by rounding only, and so is no parameter."""
        return self.snakemake.config["compute"]

    def load(self, dtype: str) -> tuple[Any, Any]:
        """Model and tokenizer of the job's checkpoint, verified; streamed if configured.

        Args:
            dtype: compute type; compressed weights have their own.
        """
        from trimllm import checkpoint  # only jobs with a model need torch
        from trimllm.base.precision import compute_dtype

        folder, device = self.checkpoint, self.params["loading"]["device"]
        compressed = kernels.method_of(files.read_json(folder / "config.json"))
        loaded = compute_dtype("float32" if compressed else dtype, device)
        place = self.compute["weights_on"]
        if place != "device" and not compressed:
            return checkpoint.load_streamed(folder, dtype=loaded, device=device, place=place)
        return checkpoint.load(folder, dtype=loaded, device=device, trust_remote_code=self.trusted)

    def training_file(self) -> str:
        """Training documents. A recipe's `pool` is the first documents of the seed's order, in a
        temporary file."""
        if self.params["pool"] is None:
            return str(self.snakemake.input.train)
        from trimllm.data.document import write_documents
        from trimllm.train.batching import documents_of_epoch

        documents = self.documents("train")
        folder = self._held.enter_context(tempfile.TemporaryDirectory(prefix="trimllm-"))
        count = min(self.params["pool"], len(documents))
        drawn = documents_of_epoch(documents, 0, count, self.seed or 0)
        write_documents(own := Path(folder, "train.jsonl"), drawn)
        return str(own)


def _touch_future_inputs(inputs: Iterable[str], results: Path, now: float) -> None:
    """Clock skew: Snakemake refuses outputs that are older than inputs. `now` is by the clock of
    the file system."""
    for path in map(Path, inputs):
        if path.stat().st_mtime > now and path.resolve().is_relative_to(results.resolve()):
            os.utime(path)


def _reuse_freed_memory() -> None:
    """Let glibc reuse what a training step frees: zeroing fresh pages costs a tenth of a step."""
    top_pad, trim_threshold, mmap_threshold = -2, -1, -3
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(mmap_threshold, 32 << 20)
        libc.mallopt(trim_threshold, 1 << 30)
        libc.mallopt(top_pad, 64 << 20)
