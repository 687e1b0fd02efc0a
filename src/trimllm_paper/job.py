"""What every script of the workflow does around its one call of the library."""

import ctypes
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TextIO

from more_itertools import always_iterable

from trimllm.base import files, kernels
from trimllm.base.errors import UserError
from trimllm.base.machine import hardware, peak_rss_bytes, versions
from trimllm.base.names import ADAPTERS
from trimllm_paper import gpus
from trimllm_paper.integrity import checks
from trimllm_paper.recipe import place_of
from trimllm_paper.records import DataReport


def set_environment(threads: int, online: bool, models: Mapping[str, Any]) -> None:
    """Threads, network, determinism, freed memory and the user's own families; before torch is
    imported."""
    libraries = ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON")
    os.environ |= {f"{name}_NUM_THREADS": str(threads) for name in libraries}
    for name in ("TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    # Matrix products on a GPU give the same bytes each time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not online:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    families = {model["family"] for model in models.values() if ":" in model["family"]}
    os.environ |= {ADAPTERS: " ".join(sorted(families)), "TOKENIZERS_PARALLELISM": "false"}
    # Let glibc reuse what a training step frees: zeroing fresh pages costs a tenth of a step.
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mmap_threshold, trim_threshold, top_pad = -3, -1, -2
        for option, mib in ((mmap_threshold, 32), (trim_threshold, 1024), (top_pad, 64)):
            mallopt(option, mib << 20)


def redirect_output(log: Path) -> TextIO:
    """Send standard output and error, also of libraries and child processes, to a log; returns
    the terminal."""
    log.parent.mkdir(parents=True, exist_ok=True)
    terminal = os.fdopen(os.dup(2), "w", encoding="utf-8", buffering=1)
    with log.open("w", encoding="utf-8") as stream:
        for number in (1, 2):
            os.dup2(stream.fileno(), number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", buffering=1, closefd=False))
    return terminal


def git_commit() -> str | None:
    """Commit of this checkout, with "-dirty" after changes; None outside of git."""
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    with suppress(OSError, subprocess.SubprocessError):
        run = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, timeout=20)
        return run.stdout.decode().strip() or None
    return None


class Job:
    """Environment, log, GPUs and one-line errors of a job, by the object that Snakemake gives to a
    script. Enter it before anything heavy is imported: it sets the number of threads and closes the
    network, unless the job is `online` and there is no mirror."""

    def __init__(self, snakemake: Any, online: bool = False) -> None:
        self.snakemake, self.online = snakemake, online and snakemake.config["mirror"] is None
        # What it depends on beside its inputs (`lineage.Job.params`), and the hash of all by which
        # a result's own job recognizes it.
        self.params: Mapping[str, Any] = snakemake.params.get("depends", {})
        self.stamp = {"config_hash": snakemake.params.get("config_hash")}
        self.wildcards: dict[str, str] = dict(snakemake.wildcards.items())
        # Lists of files by name.
        self.inputs = {key: [*always_iterable(one)] for key, one in snakemake.input.items()}
        # sha256 of every file of the prepared domain that it reads, each verified.
        self.data_hashes: dict[str, str] = {}

    def __enter__(self) -> Self:
        snakemake = self.snakemake
        self.started = datetime.now(UTC)
        set_environment(snakemake.threads, self.online, snakemake.config["models"])
        self.terminal = redirect_output(Path(str(snakemake.log[0])))
        try:
            if snakemake.resources.get("gpu") and snakemake.config["compute"]["device"] != "cpu":
                gpus.take(snakemake.resources["gpu"])
            outputs = [Path(path) for path in snakemake.output]
            for path in {path.parent for path in outputs} | set(outputs):
                files.remove_leftovers(path)
            if report := snakemake.input.get("report"):
                self.data_hashes = checks.verified_data(Path(report))
        except Exception as error:
            self._fail(error)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """End the job with one line on the terminal."""
        problem = str(error)
        if not isinstance(error, UserError):
            with suppress(OSError):
                traceback.print_exception(error)
            first = f"{type(error).__name__}: {problem.strip().partition(chr(10))[0]}"
            # safetensors passes on the text alone
            of_files = isinstance(error, OSError) or "No space left" in first
            what = "make room or repair the file system" if of_files else "unexpected"
            again = "run the same command again; if it fails again, report it"
            problem = f"{first} ({what}: {again} with {self.snakemake.log[0]})"
        self.tell(f"error: {problem}")
        sys.exit(1)

    def tell(self, text: str) -> None:
        """Write a line to the terminal and to the log, if there is space for it."""
        rule = self.snakemake.rule.removesuffix("_kept")
        self.terminal.write(f"[{' '.join([rule, *self.wildcards.values()])}] {text}\n")
        with suppress(OSError):
            print(text, file=sys.stderr)

    @property
    def seed(self) -> int | None:
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
        return named | self.params["chain"] | {"seed": self.seed, "provenance": self.stamp}

    def measured(self, **more: Any) -> dict[str, Any]:
        """What other records say of the job's wildcards, its chain, and its provenance so far."""
        chain = self.params.get("chain", {})
        return self.wildcards | chain | {"provenance": self.provenance(**more)}

    def documents(self, name: str) -> list[Any]:
        from trimllm.data import read_documents

        return read_documents(self.snakemake.input[name])

    def tokenizer(self) -> Any:
        from trimllm.checkpoint import load_tokenizer

        return load_tokenizer(self.checkpoint, trust_remote_code=self.trusted)

    def provenance(self, **extra: Any) -> dict[str, Any]:
        """Code, libraries, machine, time and inputs of the job so far."""
        manifest = self.snakemake.input.get("manifest")
        known = {
            "manifest_sha256": manifest and files.sha256_of(manifest),
            "card": self.card() if self.wildcards.get("model") else None,
            "data_hashes": self.data_hashes or None,
            "seed": self.seed,
        }
        return {
            "started": self.started.isoformat(timespec="seconds"),
            "wall_seconds": round((datetime.now(UTC) - self.started).total_seconds(), 3),
            "peak_rss_bytes": peak_rss_bytes(),
            "hardware": hardware(),
            "versions": versions(),
            "git_commit": git_commit(),
            "code_hash": self.params.get("code", ""),
            "rule": self.snakemake.rule,
            **self.stamp,
            **{key: value for key, value in known.items() if value is not None},
            **extra,
        }

    def card(self) -> dict[str, Any]:
        """Model and data as model cards name them. It changes no result."""
        model = self.snakemake.config["models"].get(self.wildcards["model"], {})
        facts = {"base_label": model.get("label"), "license": model.get("license")}
        facts["base_model"] = model.get("base_model") or model.get("source", {}).get("hub")
        if path := self.snakemake.input.get("report"):
            report = DataReport.read(path)
            licence = f" ({report.licence})" if report.licence else ""
            facts["data"] = f"{report.stand_in or report.domain}{licence}"
        return facts

    def load(self, dtype: str) -> tuple[Any, Any]:
        """Model and tokenizer of the job's checkpoint, verified; streamed if configured. `dtype`:
        compute type; compressed weights have their own."""
        from trimllm import checkpoint  # only jobs with a model need torch
        from trimllm.base.precision import compute_dtype

        folder, device = self.checkpoint, self.params["loading"]["device"]
        compressed = kernels.method_of(files.read_json(folder / "config.json"))
        dtype = compute_dtype("float32" if compressed else dtype, device)
        options = {"dtype": dtype, "device": device}
        place = self.snakemake.config["compute"]["weights_on"]
        if place != "device" and not compressed:
            return checkpoint.load_streamed(folder, place=place, **options)
        return checkpoint.load(folder, trust_remote_code=self.trusted, **options)
