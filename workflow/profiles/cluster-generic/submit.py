#!/usr/bin/env python3
"""Submit a job of Snakemake by `qsub`; prints its number. Needs Python's own library alone.

    submit.py JOBSCRIPT

Whatever a scheduler forgets of a job that has ended, the job itself notes how it ended, in
logs/cluster/NUMBER.exit, for `status.py`. What qsub refuses is told once a rule and run.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

LOGS = Path("logs/cluster")
GRID_ENGINE = "qsub -terse -cwd -V -S /bin/sh -N {rule} -j y -o {logs} -l h_rt={seconds}"
# Memory by slot. Not as `h_vmem`, which ends jobs by what CUDA maps and never touches.
GRID_ENGINE_MORE = {
    "threads": " -pe smp {threads}",
    "mem_mb": " -l mem_free={mem_by_slot}M",
    "gpu": " -l gpu={gpu}",
}
# Older ones take no longer names.
PBS = "qsub -V -S /bin/sh -N {rule:.15} -j oe -o {logs}/ -l walltime={seconds}"
PBS_MORE = {
    "threads": " -l select=1:ncpus={threads}",
    "mem_mb": ":mem={mem_mb}mb",
    "gpu": ":ngpus={gpu}",
}
# The job's own commands may end the shell: they have one of their own.
SCRIPT = """#!/bin/sh
cd {here}
(
{commands}
)
code=$?
number=${{PBS_JOBID:-$JOB_ID}}
echo $code > {logs}/."$number".exit
mv {logs}/."$number".exit {logs}/"$number".exit
exit $code
"""


def properties(script: Path) -> dict[str, Any]:
    """What Snakemake says of a job in its script."""
    for line in script.read_text(encoding="utf-8").splitlines():
        if line.startswith("# properties = "):
            return json.loads(line.split("=", 1)[1])
    raise SystemExit(f"error: {script} tells no properties of its job")


def request(job: dict[str, Any], grid_engine: bool) -> tuple[str, list[str]]:
    """Name of a job's rule, or group, and the words that submit it."""
    asked, threads = job["resources"], job["threads"]
    told = {"rule": job.get("rule") or job["groupid"], "logs": LOGS, "threads": threads}
    told |= {"seconds": 60 * asked["runtime"], "mem_mb": asked["mem_mb"]}
    told |= {"mem_by_slot": -(-asked["mem_mb"] // threads), "gpu": asked.get("gpu", 0)}
    command, more = (GRID_ENGINE, GRID_ENGINE_MORE) if grid_engine else (PBS, PBS_MORE)
    words = command + "".join(text for name, text in more.items() if told[name])
    return str(told["rule"]), words.format(**told).split()


def main(name: str) -> None:
    script = Path(name)
    rule, words = request(properties(script), "SGE_ROOT" in os.environ)
    LOGS.mkdir(parents=True, exist_ok=True)
    commands = script.read_text(encoding="utf-8")
    text = SCRIPT.format(here=shlex.quote(os.getcwd()), commands=commands, logs=LOGS)
    run = subprocess.run(words, input=text, capture_output=True, text=True)
    if run.returncode:
        told = script.parent / f"refused.{rule}"  # gone with the run
        if not told.exists():
            told.touch()
            reason = " ".join((run.stderr.strip() or run.stdout.strip() or "no reason").split())
            print(
                f"error: qsub takes no job of {rule} ({' '.join(words)}): {reason}; ask for less "
                f"(--set-resources {rule}:...), or change what {__file__} asks for",
                file=sys.stderr,
            )
        raise SystemExit(1)
    print(run.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main(sys.argv[1])
