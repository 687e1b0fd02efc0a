"""Commands around a run: `trimllm COMMAND --help` describes each."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.exporting.formats import VARIANTS

MODULES = {"serve": "export", "seeds": "plan", "unpack": "reference", "verify": "reference"}


def parser() -> argparse.ArgumentParser:
    """The commands and their options; each is a module of `commands` with a function `run`, or a
    function of the module in `MODULES`."""
    whole = argparse.ArgumentParser(prog="trimllm", description=__doc__)
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, does: str) -> Callable[..., Any]:
        return commands.add_parser(name, help=does, description=does).add_argument

    add = command("start", "inspect your data and model, and write own.yaml")
    add("file", type=Path, help="questions: .jsonl, .json, .csv, .parquet, or OWNER/NAME[:SPLIT]")
    add("--model", required=True, help="a checkpoint's folder, or OWNER/NAME of the hub")
    wishes = "above_percent=95 (default), megabytes=200, tokens_per_second=30; one or several"
    add("--want", nargs="+", default=[], metavar="KEY=NUMBER", help=wishes)
    add("--test", type=Path, help="test questions, likewise; default: some of FILE")
    add("--format", choices=VARIANTS, help="of the export; default: gguf_q8_0 where it can be")
    add("--minutes", type=float, default=15, help="budget; default: 15")
    add("--output", type=Path, default=Path("own.yaml"), help="default: own.yaml")
    add("--force", action="store_true", help="write over what is there")
    add = command("check-gpu", "does this GPU do what the plan expects; a few minutes")
    add("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: to try it out")
    add = command("export", "write a checkpoint as an engine reads it, verified in that engine")
    add("checkpoint", type=Path, help="a checkpoint's folder, plain or trimmed")
    add("--format", default="gguf_q8_0", choices=VARIANTS)
    add("--output", type=Path, help="new folder; default: CHECKPOINT-FORMAT")
    add = command("serve", "serve a GGUF file, or a folder with one, by llama.cpp over HTTP")
    add("model", type=Path, help="GGUF file, folder of an export, or results of a run of `own`")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=8080)
    add("--threads", type=int, help="default: every core")
    add("--context", type=int, default=2048, help="tokens; default: 2048")
    files: dict[str, Any] = {"dest": "configfiles", "nargs": "+", "type": Path, "default": []}
    files["help"] = "as Snakemake's; default: config/config.yaml"
    add = command("plan", "what targets would take: jobs, hours, disk and wall-clock time")
    add("targets", nargs="*", default=["all"])
    add("--configfile", **files)
    changes: dict[str, Any] = {"nargs": "*", "default": [], "metavar": "KEY=VALUE"}
    add("--config", **changes, help="changes")
    add("--parallel", type=int, help="jobs at once (cores or GPUs)")
    add = command("seeds", "run a target under several seeds, show means and their intervals")
    add("target")
    add("--configfile", **files)
    add("--config", **changes, help="changes")
    add("--seeds", nargs="+", type=int, required=True, metavar="SEED")
    add = command("verify", "check every result against its record and what it was made from")
    add("folder", type=Path, nargs="?", default=Path("results"))
    add = command("compare", "does a run agree with another, cell by cell, paired by document")
    add("folder", type=Path, nargs="?", default=Path("results"), help="yours")
    add("kept", type=Path, nargs="?", default=Path("results/reference"))
    add = command("reference", "keep a run's small results and its configuration")
    add("results", type=Path, help="folder of the run")
    add("reference", type=Path, help="folder that keeps them")
    add("changes", nargs="*", metavar="KEY=VALUE", help="what the run changed")
    add("--configfile", **files)
    add = command("unpack", "write the records of a kept run as the files that they were")
    add("reference", type=Path, help="folder of the kept run")
    add("results", type=Path, help="folder of results; files there stay")
    return whole


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
        module = importlib.import_module(f"trimllm_paper.commands.{MODULES.get(name, name)}")
        status = getattr(module, name if name in MODULES else "run")(**arguments)
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
