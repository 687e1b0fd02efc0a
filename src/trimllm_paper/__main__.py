"""Commands around a run: `trimllm COMMAND --help` describes each."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from trimllm.base.errors import UserError
from trimllm.exporting.formats import VARIANTS


def parser() -> argparse.ArgumentParser:
    """The commands and their options; each is a module of `commands` with a function `run`."""
    whole = argparse.ArgumentParser(prog="trimllm", description=__doc__)
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    files = argparse.ArgumentParser(add_help=False)
    default = "as Snakemake's; default: config/config.yaml"
    files.add_argument(
        "--configfile", dest="configfiles", nargs="+", type=Path, default=[], help=default
    )

    def command(name: str, does: str, *, configured: bool = False) -> argparse.ArgumentParser:
        parents = [files] if configured else []
        return commands.add_parser(name, help=does, description=does, parents=parents)

    start = command("start", "inspect your data and model, and write own.yaml")
    start.epilog = (
        "Then: snakemake --cores all own --configfile own.yaml, and trimllm serve results/MY."
    )
    questions = "questions: .jsonl, .json, .csv or .parquet, or OWNER/NAME[:SPLIT] of the hub"
    start.add_argument("file", type=Path, help=questions)
    start.add_argument("--model", required=True, help="a checkpoint's folder, or OWNER/NAME")
    wishes = "above_percent=95 (default), megabytes=200, tokens_per_second=30; one or several"
    start.add_argument("--want", nargs="+", default=[], metavar="KEY=NUMBER", help=wishes)
    start.add_argument("--test", type=Path, help="test questions, likewise; default: some of FILE")
    default = "of the export; default: gguf_q8_0 where llama.cpp can"
    start.add_argument("--format", choices=VARIANTS, help=default)
    start.add_argument("--minutes", type=float, default=15, help="budget; default: 15")
    start.add_argument("--output", type=Path, default=Path("own.yaml"), help="default: own.yaml")
    start.add_argument("--force", action="store_true", help="write over what is there")
    gpu = command("check-gpu", "does this GPU do what the plan expects; a few minutes")
    gpu.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try it out")
    gpu.add_argument("--results", type=Path, default=Path("results"), help="folder of results")
    export = command("export", "write a checkpoint as an engine reads it, verified in that engine")
    export.add_argument("checkpoint", type=Path, help="a checkpoint's folder, plain or trimmed")
    export.add_argument("--format", default="gguf_q8_0", choices=VARIANTS)
    export.add_argument("--output", type=Path, help="new folder; default: CHECKPOINT-FORMAT")
    export.add_argument("--texts", type=Path, help="file of texts to verify on, one a line")
    serve = command("serve", "serve a GGUF file, or a folder with one, by llama.cpp over HTTP")
    models = "GGUF file, folder of an export, or results of a run of `own`"
    serve.add_argument("model", type=Path, help=models)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=8080)
    serve.add_argument("--threads", type=int, help="default: every core")
    serve.add_argument("--context", type=int, default=2048, help="tokens; default: 2048")
    _add_commands_on_results(command)
    return whole


def _add_commands_on_results(command: Callable[..., argparse.ArgumentParser]) -> None:
    cost = "what targets would take: jobs, hours, disk and wall-clock time"
    plan = command("plan", cost, configured=True)
    plan.add_argument("targets", nargs="*", default=["all"])
    plan.add_argument("--config", nargs="*", default=[], metavar="KEY=VALUE", help="changes")
    plan.add_argument("--parallel", type=int, help="jobs at once (cores or GPUs)")
    plan.add_argument("--price", type=float, help="of an hour of a GPU (or core): adds the cost")
    several = "run a target under several seeds, show means and their intervals"
    seeds = command("seeds", several, configured=True)
    seeds.add_argument("target")
    seeds.add_argument("--seeds", nargs="+", type=int, required=True, metavar="SEED")
    seeds.add_argument("--cores", default="all")
    verify = command("verify", "check every result against its record and what it was made from")
    verify.add_argument("folder", type=Path, nargs="?", default=Path("results"))
    cells = "does a run agree with another, cell by cell, paired by document"
    compare = command("compare", cells, configured=True)
    compare.add_argument("folder", type=Path, nargs="?", default=Path("results"), help="yours")
    compare.add_argument("kept", type=Path, nargs="?", default=Path("results/reference"))
    verdicts = ("different", "within noise", "equal", "all")
    compare.add_argument("--show", choices=verdicts, default="different", help="cells to list")
    kept = "keep a run's small results and its configuration"
    reference = command("reference", kept, configured=True)
    reference.add_argument("results", type=Path, help="folder of the run")
    reference.add_argument("reference", type=Path, help="folder that keeps them")
    reference.add_argument("changes", nargs="*", metavar="KEY=VALUE", help="what the run changed")
    reference.add_argument("--add", action="store_true", help="keep what is kept already, too")
    unpack = command("unpack", "write the records of a kept run as the files that they were")
    unpack.add_argument("reference", type=Path, help="folder of the kept run")
    unpack.add_argument("results", type=Path, help="folder of results; files there stay")


def main(words: Sequence[str] | None = None) -> int:
    """Exit status of a command. A mistake of the user is one line."""
    options, rest = parser().parse_known_args(words)
    arguments = vars(options)
    if options.command == "seeds":
        arguments["rest"] = rest  # Snakemake's
    elif rest:
        parser().error(f"unknown: {' '.join(rest)}")
    name = arguments.pop("command").replace("-", "_")
    try:
        status = importlib.import_module(f"trimllm_paper.commands.{name}").run(**arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader has read enough; at exit Python writes what is left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing.startswith("trimllm"):
            raise
        problem = f"{missing} is not installed: pip install 'trimllm[pipeline]'"
    except (UserError, OSError) as error:
        problem = str(error)
    print(f"error: {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
