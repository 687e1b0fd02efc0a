"""What every script of the workflow does around its one library call."""

from __future__ import annotations

import ctypes
import os
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO


class Tee:
    """A text stream that writes to the terminal, each line marked with its job, and to a log."""

    def __init__(self, terminal: TextIO, log: TextIO, mark: str) -> None:
        self.terminal, self.log, self.mark = terminal, log, mark
        self.line = ""

    def write(self, text: str) -> int:
        self.log.write(text)
        self.log.flush()
        *lines, self.line = (self.line + text).split("\n")
        for line in lines:
            shown = line.rsplit("\r", 1)[-1]
            if shown:
                self.terminal.write(f"[{self.mark}] {shown}\n")
        self.terminal.flush()
        return len(text)

    def flush(self) -> None:
        self.terminal.flush()

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self.terminal.fileno()


class Job:
    """Environment, log and clear errors of one job.

    Enter it before anything heavy is imported: it sets the number of threads and shuts the network.
    A `UserError` ends the job with its one line; any other exception with its traceback. While it
    runs it holds the lock of its outputs, so that no two jobs write one output, whoever started
    them: a job that had to wait and finds its work done ends at once.

    Args:
        snakemake: the object that Snakemake gives to a script.
        online: whether the job may use the network; never with a mirror.
        model: whether the job loads a model.
    """

    def __init__(self, snakemake: Any, online: bool = False, model: bool = False) -> None:
        self.snakemake, self.model = snakemake, model
        self.online = online and snakemake.config["mirror"] is None
        self.params: dict[str, Any] = dict(snakemake.params.items())

    def __enter__(self) -> Job:
        _set_environment(self.snakemake.threads, self.online)
        _keep_freed_memory()
        path = Path(str(self.snakemake.log[0]))
        path.parent.mkdir(parents=True, exist_ok=True)
        words = [self.snakemake.rule.removesuffix("_kept"), *map(str, self.snakemake.wildcards)]
        log = path.open("w", encoding="utf-8")
        sys.stderr = sys.stdout = Tee(sys.__stderr__, log, " ".join(words))
        self._lock_outputs(words)
        if self.model:
            from trimllm.base.registration import import_quickly

            import_quickly()
        from trimllm.base.machine import Run

        self.run = Run().__enter__()
        return self

    def _lock_outputs(self, words: list[str]) -> None:
        """Wait until nobody else writes the outputs; end if they were made meanwhile."""
        from trimllm.base import files
        from trimllm.base.machine import recorded
        from trimllm_paper.integrity import locks

        outputs = [Path(path) for path in self.snakemake.output]
        folder = Path(self.snakemake.config["results"], locks.FOLDER)
        name = files.content_hash(str(outputs[0].absolute()))[:32]
        self._lock = locks.exclusive(folder / name, what=" ".join(words), output=str(outputs[0]))
        waited = self._lock.__enter__()
        if waited and all(path.is_file() for path in outputs):
            made = {recorded(p).get("config_hash") for p in outputs if p.suffix == ".json"}
            if self.settings()["config_hash"] in made:
                print("made by another job meanwhile; it is kept", file=sys.stderr)
                self._lock.__exit__(None, None, None)
                sys.exit(0)
        for path in {path.parent for path in outputs} | set(outputs):
            files.remove_leftovers(path)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        from trimllm.base.errors import UserError
        from trimllm.base.files import disk_full

        self.run.__exit__(kind, error, trace)
        self._lock.__exit__(None, None, None)
        if error is not None and disk_full(error):
            print(f"error: no space left ({error}); make room and run again", file=sys.stderr)
        elif isinstance(error, UserError):
            print(f"error: {error}", file=sys.stderr)
        elif isinstance(error, Exception):
            traceback.print_exception(error, file=sys.stderr)
            print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        if isinstance(error, Exception):
            sys.exit(1)

    def provenance(self, **extra: Any) -> dict[str, Any]:
        """Provenance of the job so far; its config hash covers what the job depends on."""
        from trimllm.base import files

        manifest = self.snakemake.input.get("manifest")
        read = {"manifest_sha256": files.sha256_of(manifest)} if manifest else {}
        return self.run.record(rule=self.snakemake.rule, **self.settings(), **read, **extra)

    def settings(self) -> dict[str, str]:
        """What a result must carry that its own job shall know again: hash of its parameters."""
        from trimllm.base.machine import config_hash

        return {"config_hash": config_hash(self.params)}

    def load(self, manifest: str, dtype: str) -> tuple[Any, Any]:
        """Load the checkpoint that a manifest belongs to, verified; streamed if it is to be.

        Args:
            dtype: type that it is to run in. Compressed weights have their own.
        """
        from trimllm import checkpoint
        from trimllm.base import files, kernels
        from trimllm.base.precision import compute_dtype

        how: Mapping[str, Any] = self.params["loading"]
        folder, device, place = Path(manifest).parent, how["device"], self.compute["weights_on"]
        compressed = kernels.method_of(files.read_json(folder / "config.json"))
        found = compute_dtype("float32" if compressed else dtype, device)
        if place != "device" and not compressed:
            return checkpoint.load_streamed(folder, dtype=found, device=device, place=place)
        trusted = how["trust_remote_code"]
        return checkpoint.load(folder, dtype=found, device=device, trust_remote_code=trusted)

    @property
    def compute(self) -> Mapping[str, Any]:
        """On what jobs run. It changes no result but by rounding, and so is no parameter."""
        return self.snakemake.config["compute"]

    def train(
        self, recipe: str, record_name: str, arguments: dict[str, Any], hashes: dict[str, str]
    ) -> None:
        """Train by a recipe, from the checkpoint of the job's input to that of its output."""
        from trimllm.train import TrainJob, make_checkpoint

        inputs, processes = self.snakemake.input, self.compute["processes"]
        work = TrainJob(
            recipe=recipe,
            checkpoint=str(Path(inputs.manifest).parent),
            train=str(inputs.train),
            calibration=inputs.get("calibration"),
            scan=inputs.get("scan"),
            settings=self.params["settings"],
            arguments=arguments,
            processes=processes,
            threads=max(1, self.snakemake.threads // processes),
            offload=self.compute["offload"],
            weights_on=self.compute["weights_on"],
            stamp=self.settings(),
            **self.params["loading"],
        )
        seed = self.params["settings"]["seed"]
        make_checkpoint(
            work,
            Path(self.snakemake.output.manifest).parent,
            record_name=record_name,
            provenance=lambda: self.provenance(data_hashes=hashes, seed=seed),
        )

    def data_hashes(self, domain_report: str) -> dict[str, str]:
        """sha256 of every file of a prepared domain, each file checked against it."""
        from trimllm.base import files
        from trimllm.base.errors import UserError

        folder = Path(domain_report).parent
        expected: dict[str, str] = files.read_json(domain_report)["files"]
        for name, sha256 in expected.items():
            if not (folder / name).is_file() or files.sha256_of(folder / name) != sha256:
                remedy = f"delete {folder} and run again"
                raise UserError(f"{folder / name} is not what {domain_report} says; {remedy}")
        return expected


def _set_environment(threads: int, online: bool) -> None:
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for name in ("TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    # Matrix products on a GPU that give the same bytes each time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not online:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"


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
