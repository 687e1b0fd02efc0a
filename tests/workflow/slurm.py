"""A Slurm of two nodes on this host, for as long as a test needs it; from Debian's packages."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from runs import ROOT, wait_for

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo", "scontrol")
NODES = ("n1", "n2")
# The project's profile, and how a fast one-host cluster without accounting differs from a real one.
PROFILE = [
    *("--profile", str(ROOT / "workflow/profiles/slurm")),
    *("--latency-wait", "5", "--slurm-status-command", "squeue"),
    *("--slurm-init-seconds-before-status-checks", "1", "--seconds-between-status-checks", "1"),
    *("--max-status-checks-per-second", "2"),
]
CONFIGURATION = """
ClusterName=toy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
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
FirstJobId={first_job}
ReturnToService=0
MpiDefault=none
SlurmdParameters=config_overrides
KillWait=5
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=600
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=6000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=6000
"""


class Slurm:
    """Its daemons. `client`: environment of commands that talk to them."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "slurm.conf"
        self.client = {"SLURM_CONF": str(self.config), "PATH": f"{folder / 'bin'}:{PATH}"}
        self.config.write_text(
            CONFIGURATION.format(
                host=socket.gethostname().split(".")[0],
                ports=_free_ports(1 + len(NODES)),
                folder=folder,
                first_job=secrets.randbelow(60_000_000) + 1,
            )
        )
        (folder / "state").mkdir()
        (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
        # Snakemake's job step plugin drops SLURM_CONF for the srun that it starts.
        srun = folder / "bin/srun"
        srun.parent.mkdir()
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={self.config} exec /usr/bin/srun "$@"\n')
        srun.chmod(0o755)
        self.controller = self._start("slurmctld")
        self.daemons = [self._start("slurmd", "-N", node) for node in NODES]

    def is_idle(self) -> bool:
        return set(self.call("sinfo", "-hNo", "%T").split()) == {"idle"}

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        env = os.environ | self.client
        return subprocess.Popen([*words, "-D", "-f", str(self.config)], env=env)

    def call(self, *words: str) -> str:
        """Output of a command; empty where it fails."""
        env = os.environ | self.client
        return subprocess.run(words, capture_output=True, text=True, env=env).stdout

    def jobs(self) -> list[dict[str, str]]:
        """All jobs in order, also those that have ended."""
        names = ("id", "state", "limit", "node")
        lines = self.call("squeue", "--states=all", "--noheader", "--format=%i|%T|%l|%N")
        rows = [dict(zip(names, line.split("|"), strict=True)) for line in lines.splitlines()]
        return sorted(rows, key=lambda row: int(row["id"]))

    def restart_controller(self) -> None:
        """It is down for longer than the plugin's own default bears."""
        self.controller.terminate()
        self.controller.wait(20)
        time.sleep(40)
        self.controller = self._start("slurmctld")
        _wait_until(lambda: bool(self.jobs()))

    def lose_node(self, node: str) -> None:
        """A node is gone with its jobs, which are queued again."""
        self.call("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")

    def let_begin(self, job: str, log: Path) -> None:
        """A job that was requeued begins at once, for which Slurm waits two minutes."""

        def is_pending() -> bool:
            return any(one["id"] == job and one["state"] == "PENDING" for one in self.jobs())

        wait_for(is_pending, 60, log)
        self.call("scontrol", "update", f"JobId={job}", "StartTime=now")

    def stop(self) -> None:
        self.call("scancel", "--me", "--full")
        for daemon in (self.controller, *self.daemons):
            daemon.terminate()
            daemon.wait(20)


@contextmanager
def cluster() -> Iterator[Slurm]:
    """A Slurm; the test is skipped where none can be started."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    if os.geteuid() != 0 or not all(shutil.which(name, path=PATH) for name in PROGRAMS):
        pytest.skip("Slurm is not installed, or this is not root; see .ci/run for the packages")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        Path(folder).chmod(0o755)
        slurm = Slurm(Path(folder))
        try:
            _wait_until(slurm.is_idle)
            yield slurm
        finally:
            slurm.stop()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_until(succeeds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not succeeds():
        assert time.monotonic() < end, "Slurm did not come up"
        time.sleep(0.5)
