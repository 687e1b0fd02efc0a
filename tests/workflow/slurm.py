"""A Slurm of two nodes on this host, for as long as a test needs it; from Debian's packages."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from runs import ROOT, command, environment

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo", "scontrol")
NODES = ("n1", "n2")
ALIVE = ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")
# The project's profile, and how a fast one-host cluster without accounting differs from a real one.
PROFILE = [
    *("--profile", str(ROOT / "workflow/profiles/slurm")),
    *("--latency-wait", "5", "--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
    *("--max-status-checks-per-second", "2"),
]


def missing() -> str | None:
    """Why no Slurm can be started here, or None."""
    programs = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if programs:
        return f"Slurm is not installed ({', '.join(programs)}); see .ci/run for the packages"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return "Snakemake's plugin for Slurm is not installed (pip install -e '.[slurm]')"
    return None if os.geteuid() == 0 else "a Slurm of one's own needs root"


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _write_configuration(
    folder: Path, memory_mb: int, cpus: int, gpus: Sequence[int], limit: int
) -> None:
    host = socket.gethostname().split(".")[0]
    control, *ports = _free_ports(1 + len(NODES))
    lines = f"""
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdSpoolDir={folder}/spool.%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
SlurmctldPort={control}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=2,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
MinJobAge=3600
FirstJobId={secrets.randbelow(60_000_000) + 1}
ReturnToService=2
MpiDefault=none
GresTypes=gpu
SlurmdParameters=config_overrides
KillWait=5
PartitionName=all Nodes={",".join(NODES)} Default=YES MaxTime={limit}
"""
    gres = ""
    for node, port, count in zip(NODES, ports, gpus, strict=True):
        lines += f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
        lines += f"RealMemory={memory_mb} {f'Gres=gpu:{count}' if count else ''}\n"
        for number in range(count):
            # A GPU to be counted, not to be used: a copy of /dev/null.
            os.mknod(folder / f"{node}.nvidia{number}", 0o20666, os.makedev(1, 3))
            file = f"{folder}/{node}.nvidia{number}"
            gres += f"NodeName={node} Name=gpu File={file} AutoDetect=off\n"
    (folder / "slurm.conf").write_text(lines)
    (folder / "gres.conf").write_text(gres)
    (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    # Snakemake's job step plugin drops SLURM_CONF for the srun that it starts.
    (folder / "bin").mkdir()
    srun = folder / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec /usr/bin/srun "$@"\n')
    srun.chmod(0o755)
    # Who asks in vain what jobs do is noted.
    for name in ("squeue", "sacct"):
        asking = folder / "bin" / name
        failed = f"(echo >> {folder}/in_vain; exit 1)"
        asking.write_text(f'#!/bin/sh\n/usr/bin/{name} "$@" || {failed}\n')
        asking.chmod(0o755)


def _start_munge(folder: Path) -> None:
    (folder / "munge").mkdir(mode=0o700)
    key = folder / "munge" / "key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    options = {"key-file": key, "socket": folder / "munge.socket"}
    options |= {f"{name}-file": folder / "munge" / name for name in ("pid", "log", "seed")}
    words = [f"--{name}={value}" for name, value in options.items()]
    subprocess.run(["munged", *words, "--force"], check=True, env={"PATH": _path()})


@contextmanager
def clients(memory_mb: int, **how: Any) -> Iterator[dict[str, str]]:
    """Clients' environment of a Slurm (see `cluster`) for tests, which are skipped where none can
    be started, if that may be."""
    if reason := missing():
        assert "TRIMLLM_NEEDS_SLURM" not in os.environ, reason
        pytest.skip(reason)
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        cluster(Path(folder, "state"), memory_mb, **how) as found,
    ):
        yield found


@contextmanager
def cluster(
    folder: Path, memory_mb: int, *, cpus: int = 1, gpus: Sequence[int] = (1, 0), limit: int = 600
) -> Iterator[dict[str, str]]:
    """Start a Slurm whose state lies in `folder`; yields its clients' environment.

    Args:
        folder: an empty folder, short enough in name for a socket.
        memory_mb: memory of each of the two nodes.
        cpus: processors that each says it has.
        gpus: of each node.
        limit: longest time that a job may ask for, minutes.
    """
    (folder / "state").mkdir(parents=True)
    folder.chmod(0o755)
    _write_configuration(folder, memory_mb, cpus, gpus, limit)
    config = str(folder / "slurm.conf")
    client = {"SLURM_CONF": config, "PATH": f"{folder / 'bin'}:{_path()}"}
    environment = {**os.environ, **client}
    try:
        _start_munge(folder)
        subprocess.run(["slurmctld", "-f", config], check=True, env=environment)
        for node in NODES:
            subprocess.run(["slurmd", "-N", node, "-f", config], check=True, env=environment)
        _wait_until_idle(environment)
        yield client
    finally:
        if (folder / "slurmctld.pid").exists():
            subprocess.run(["scancel", "--me", "--full"], env=environment)
        _stop([*folder.glob("slurm*.pid"), folder / "munge" / "pid"])


def _stop(pid_files: list[Path]) -> None:
    """End the daemons and wait until they have (a container may have nobody to bury them)."""
    pids = []
    for file in pid_files:
        with suppress(OSError, ValueError):
            pids.append(int(file.read_text()))
            os.kill(pids[-1], signal.SIGTERM)
    end = time.monotonic() + 20
    for pid in pids:
        with suppress(OSError):
            while Path(f"/proc/{pid}/cmdline").read_bytes() and time.monotonic() < end:
                time.sleep(0.1)


def _wait_until_idle(environment: dict[str, str]) -> None:
    command, end = ["sinfo", "-h", "-N", "-o", "%T"], time.monotonic() + 60
    while True:
        run = subprocess.run(command, capture_output=True, text=True, env=environment)
        if run.returncode == 0 and set(run.stdout.split()) == {"idle"}:
            return
        assert time.monotonic() < end, f"Slurm's nodes did not come up: {run.stdout}{run.stderr}"
        time.sleep(0.5)


def jobs(client: dict[str, str]) -> list[dict[str, str]]:
    """All jobs of the cluster in order, also those that have ended."""
    form = "%i|%T|%k|%m|%b|%C|%l|%r|%N"
    command = ["squeue", "--states=all", "--noheader", f"--format={form}"]
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **client}
    )
    names = ("id", "state", "comment", "memory", "gres", "cpus", "limit", "why", "node")
    rows = [dict(zip(names, line.split("|"), strict=True)) for line in run.stdout.splitlines()]
    return sorted(rows, key=lambda row: int(row["id"]))


def restart_controller(client: Mapping[str, str], log: Path) -> None:
    """Slurm's controller is down until Snakemake has asked it in vain for what its jobs do; what it
    knew, it knows again."""
    config = Path(client["SLURM_CONF"])
    asked = config.with_name("in_vain")
    asked.unlink(missing_ok=True)
    _stop([config.with_name("slurmctld.pid")])
    wait_for(asked.exists, 300, log)
    time.sleep(5)  # more queries than the plugin's own default bears
    environment = {**os.environ, **client}
    subprocess.run(["slurmctld", "-f", str(config)], check=True, env=environment)
    end = time.monotonic() + 60
    while subprocess.run(["squeue"], capture_output=True, env=environment).returncode:
        assert time.monotonic() < end, "Slurm's controller did not come up again"
        time.sleep(0.5)


def lose_node(client: Mapping[str, str], node: str, job: str) -> None:
    """A node is gone with the job that runs on it, and Slurm is told."""
    running = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            told = process.environ().get("SLURM_JOB_ID") == job
            if told or process.name().startswith("slurmstepd") and f"[{job}." in cmdline(process):
                running.append(process)
    daemon = Path(client["SLURM_CONF"]).with_name(f"slurmd.{node}.pid")
    for process in (psutil.Process(int(daemon.read_text())), *running):
        with suppress(psutil.Error):
            process.kill()
    words = ["scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost"]
    subprocess.run(words, check=True, env={**os.environ, **client})


def let_begin(client: dict[str, str], job: str, log: Path) -> None:
    """A job that was requeued begins at once, for which Slurm waits two minutes."""
    wait_for(
        lambda: (job, "PENDING") in [(one["id"], one["state"]) for one in jobs(client)], 60, log
    )
    words = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
    subprocess.run(words, check=True, env={**os.environ, **client})


def cmdline(process: psutil.Process) -> str:
    """A process's command line as one text."""
    return " ".join(process.cmdline())


def alive(client: dict[str, str]) -> list[str]:
    """Numbers of the jobs that have not ended."""
    return [job["id"] for job in jobs(client) if job["state"] in ALIVE]


def wait_for(condition: Callable[[], object], seconds: float, log: Path) -> None:
    """Wait until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, log.read_text()[-4000:]
        time.sleep(0.5)


@contextmanager
def at_work(
    directory: Path, log: Path, *words: str, extra: Mapping[str, str], **options: object
) -> Iterator[subprocess.Popen[bytes]]:
    """The workflow runs beside the test; killed at the end, if it has not ended by itself."""
    with log.open("w") as stream:
        master = subprocess.Popen(
            command(directory, *words, **options),
            cwd=directory,
            env=environment() | extra,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        yield master
    finally:
        if master.poll() is None:
            os.killpg(master.pid, signal.SIGKILL)
        master.wait()
