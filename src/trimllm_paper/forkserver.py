"""A process that has imported what jobs with a model need, and is forked for each of them.

Imports are most of a small job's processor time, and the same for all jobs of a run. Snakemake
starts every script in an interpreter of its own; where the run has a server (`start`), that
interpreter asks it for a twin (`hand_over`) that runs the script in its stead, with its words,
folder, environment and streams, and ends as the twin ends. Where nobody answers it goes on itself.

Between the two stands a keeper, the server's fork and the twin's parent: it tells how the twin
ended, and ends it if who asked is gone, as a kill of the script would have. On Linux and without
GPUs alone: elsewhere libraries do not survive a fork. Snakemake follows the processes of a script,
so that of a forked job's benchmark file the seconds alone are its own; memory is in the provenance.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from trimllm_paper.environment import adapters_of, set_environment

ADDRESS = "TRIMLLM_FORKSERVER"
"""Environment variable: the server's Python, and where it listens."""
TASKS = ("scan", "full_ft", "sparse_ft", "trim", "settle", "teach", "compress", "evaluate")
"""What jobs do (`resources.TASKS`) that are forked, and need the rooms of `MODELS`."""
PAGES = ("render_table", "draw_figure", "claims")
"""Starts of the rules whose jobs are forked, and need those of `RENDERING`."""
JOB = ("snakemake.script", "trimllm_paper.job", "trimllm_paper.records")
MODELS = ("trimllm.checkpoint", "trimllm.evaluate", "trimllm.scanning", "trimllm.train")
RENDERING = (
    *("trimllm_paper.frames", "trimllm_paper.grid", "trimllm_paper.render"),
    *("trimllm_paper.figures.style", "trimllm_paper.claims"),
)
STREAMS = (0, 1, 2)
BEGUN = b"+"
PR_SET_PDEATHSIG = 1


def can_serve() -> bool:
    """Whether processes are forked safely here, and a kernel lets others wait for them."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return sys.platform == "linux"


def imported_by(jobs: Iterable[tuple[str, str | None]]) -> list[str]:
    """What is worth importing once, for jobs told by rule and task; nothing for few."""
    jobs = [*jobs]
    models = sum(task in TASKS for _, task in jobs)
    pages = sum(rule.startswith(PAGES) for rule, _ in jobs)
    return [*(MODELS if models > 1 else ()), *(RENDERING if pages > 1 else ())]


def start(rooms: Iterable[str], models: Mapping[str, Mapping[str, Any]]) -> None:
    """A server for the scripts that this process starts from now on; it ends when this one does,
    and the scripts that are at work go on. Who asks while it imports waits: to import the same
    oneself would end later, and take a core from it.

    Args:
        rooms: what it imports (`imported_by`).
        models: the configuration's.
    """
    folder = tempfile.mkdtemp(prefix="trimllm-forks-")
    # It reads to the end of what nobody writes; that end comes with ours, also if we are killed.
    end, _ = os.pipe()
    told = os.environ | adapters_of(models)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        listener.listen(128)
        # (-P: a script does not find modules in the folder that the run is started in.)
        words = ["-P", "-m", "trimllm_paper.forkserver", folder, str(listener.fileno()), *rooms]
        # (What it cannot import, a job that needs it complains of.)
        subprocess.Popen(
            [sys.executable, *words],
            env=told,
            stdin=end,
            stdout=DEVNULL,
            stderr=DEVNULL,
            pass_fds=[listener.fileno()],
        )
    os.close(end)
    os.environ[ADDRESS] = os.pathsep.join([sys.executable, folder])


def hand_over() -> None:
    """Let a twin run this script and end as it ends; return where there is no server for it."""
    python, _, folder = os.environ.get(ADDRESS, "").partition(os.pathsep)
    if python != sys.executable:
        return
    while (spare := os.open(os.devnull, os.O_RDWR)) in STREAMS:  # a stream that was closed
        pass
    os.close(spare)
    os.umask(mask := os.umask(0))
    told = {
        "argv": sys.argv,
        "cwd": os.getcwd(),
        "environ": {key: value for key, value in os.environ.items() if key != ADDRESS},
        "group": os.getpgrp(),
        "interrupted": signal.getsignal(signal.SIGINT) != signal.SIG_IGN,
        "umask": mask,
    }
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(f"{folder}/socket")
            socket.send_fds(server, [b"\n"], STREAMS)
            server.sendall(json.dumps(told).encode() + b"\n")
            if server.recv(1) != BEGUN:
                return
        except OSError:
            return
        while True:
            with suppress(KeyboardInterrupt):  # the twin's as well, who ends by it
                said = server.recv(64)
                break
    if not said:
        sys.exit("error: the process that did this job is gone")
    if (status := int(said)) < 0:
        with suppress(OSError):  # of what cannot be handled
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


def serve(folder: str, listening: str, *rooms: str) -> None:
    """Import, then fork a keeper for everyone who connects, until standard input ends. Returns in
    the server, and in each twin when its script has ended. `listening` is a socket's number."""
    server, asked = os.getpid(), None
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        set_environment(1, online=False)
        if not os.access(Path.home(), os.W_OK):  # else matplotlib's would end with the first twin
            os.environ["MPLCONFIGDIR"] = folder
        with socket.socket(fileno=int(listening)) as listener:
            gc.disable()  # imports make no garbage
            for name in (*JOB, *rooms):
                importlib.import_module(name)
            gc.enable()
            gc.freeze()  # what is here stays where it is, in pages that all share
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
            asked = fork_for_each(listener)
    finally:
        if os.getpid() == server:
            shutil.rmtree(folder, ignore_errors=True)
    if asked is not None:
        run(keep(asked))


def fork_for_each(listener: socket.socket) -> socket.socket | None:
    """A connection, in the fork for who has connected; None in the server, when nobody will."""
    watched: list[Any] = [listener, sys.stdin]
    while sys.stdin not in select.select(watched, [], [])[0]:
        with suppress(OSError):  # who is not answered does its work itself
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    return connection.dup()
    return None


def keep(connection: socket.socket) -> dict[str, Any]:
    """Fork the twin, in which this returns what it was told; in the keeper it never does."""
    with connection, connection.makefile("rb") as words:
        _, streams, _, _ = socket.recv_fds(connection, 1, len(STREAMS))
        told: dict[str, Any] = json.loads(words.readline())
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        twin = os.fork()
        if twin == 0:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            # (Of another session none can be joined: who asked hears nothing and does it itself.)
            os.setpgid(0, told["group"])
            for number, stream in zip(STREAMS, streams, strict=True):
                os.dup2(stream, number)
                os.close(stream)
            if told["interrupted"]:
                signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                connection.sendall(BEGUN)
            except OSError:  # who asked has not waited
                os._exit(0)
            return told
        watched: list[Any] = [connection, ended := os.pidfd_open(twin)]
        if ended not in select.select(watched, [], [])[0]:  # who asked is gone
            os.kill(twin, signal.SIGKILL)
        _, status = os.waitpid(twin, 0)
        with suppress(OSError):
            connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)


def run(told: dict[str, Any]) -> None:
    """Be the process that asked, and run its script."""
    os.chdir(told["cwd"])
    os.umask(told["umask"])
    os.environ.clear()
    os.environ.update(told["environ"])
    tempfile.tempdir = None  # it is asked for anew
    sys.argv = told["argv"]
    sys.path.insert(0, str(Path(sys.argv[0]).parent))
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    serve(*sys.argv[1:])
