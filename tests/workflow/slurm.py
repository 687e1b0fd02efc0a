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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from runs import ROOT, wait_for

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo", "scontrol")
NODES, MEMORY_MB = ("n1", "n2"), 6000
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


def _write_configuration(folder: Path) -> None:
    host = socket.gethostname().split(".")[0]
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(1 + len(NODES))]
    control, *ports = (one.getsockname()[1] for one in sockets)
    for one in sockets:
        one.close()
    lines = f"""
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
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
SlurmdParameters=config_overrides
KillWait=5
PartitionName=all Nodes={",".join(NODES)} Default=YES MaxTime=600
"""
    for node, port in zip(NODES, ports, strict=True):
        lines += f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 "
        lines += f"RealMemory={MEMORY_MB}\n"
    (folder / "slurm.conf").write_text(lines)
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


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Clients' environment of a Slurm; the test is skipped where none can be started."""
    if reason := missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as room:
        folder = Path(room, "state")
        (folder / "state").mkdir(parents=True)
        folder.chmod(0o755)
        _write_configuration(folder)
        config = str(folder / "slurm.conf")
        client = {"SLURM_CONF": config, "PATH": f"{folder / 'bin'}:{_path()}"}
        environment = {**os.environ, **client}
        try:
            subprocess.run(["slurmctld", "-f", config], check=True, env=environment)
            for node in NODES:
                subprocess.run(["slurmd", "-N", node, "-f", config], check=True, env=environment)
            _wait_until(lambda: _are_idle(environment), "Slurm's nodes did not come up")
            yield client
        finally:
            if (folder / "slurmctld.pid").exists():
                subprocess.run(["scancel", "--me", "--full"], env=environment)
            _stop([*folder.glob("slurm*.pid")])


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


def _wait_until(succeeds: Callable[[], bool], problem: str) -> None:
    end = time.monotonic() + 60
    while not succeeds():
        assert time.monotonic() < end, problem
        time.sleep(0.5)


def _are_idle(environment: dict[str, str]) -> bool:
    command = ["sinfo", "-h", "-N", "-o", "%T"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    return run.returncode == 0 and set(run.stdout.split()) == {"idle"}


def jobs(client: dict[str, str]) -> list[dict[str, str]]:
    """All jobs of the cluster in order, also those that have ended."""
    form = "%i|%T|%k|%l|%N"
    words = ["squeue", "--states=all", "--noheader", f"--format={form}"]
    run = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **client})
    names = ("id", "state", "comment", "limit", "node")
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
    squeue = {"args": ["squeue"], "capture_output": True, "env": environment}
    _wait_until(lambda: subprocess.run(**squeue).returncode == 0, "slurmctld did not come up again")


def lose_node(client: Mapping[str, str], node: str, job: str) -> None:
    """A node is gone with the job that runs on it, and Slurm is told."""
    running = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            is_step = process.name().startswith("slurmstepd")
            of_job = is_step and f"[{job}." in " ".join(process.cmdline())
            if of_job or process.environ().get("SLURM_JOB_ID") == job:
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
