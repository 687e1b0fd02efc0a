"""A scheduler with qsub, qstat and qdel, of shell scripts: jobs run on this host at once."""

from __future__ import annotations

import os
from pathlib import Path

# What the scheduler was asked for and told of; `dies`: jobs whose name is in it are lost once.
SUBMIT = """#!/bin/sh
printf '%s\\n' "$*" >> {room}/asked
case " $* " in *" {refused} "*) echo "qsub: Job violates queue limits" >&2; exit 38;; esac
number=$(($(wc -l < {room}/asked)))
job={room}/$number
cat > $job.sh
echo "$number.toy" > $job.id
name=$(printf '%s' "$*" | sed 's/.* -N \\([^ ]*\\) .*/\\1/')
if [ "$name" = "$(cat {room}/dies 2>/dev/null)" ]; then
    rm {room}/dies $job.id
else
    (env {variable}="$number{server}" sh $job.sh > $job.out 2>&1; rm $job.id) > /dev/null 2>&1 &
fi
echo "$number{server}"
"""
STATUS = """#!/bin/sh
printf 'Job id  Name  State\\n'
cat {room}/*.id 2> /dev/null
true
"""


def scheduler(room: Path, *, grid_engine: bool, refused: str) -> dict[str, str]:
    """Make one in an empty folder; the environment of its clients.

    Args:
        grid_engine: speak as Grid Engine does, not as PBS.
        refused: words that no job may ask for.
    """
    (room / "bin").mkdir(parents=True)
    told = {"room": room, "refused": refused, "server": "" if grid_engine else ".toy"}
    told["variable"] = "JOB_ID" if grid_engine else "PBS_JOBID"
    for name, text in (("qsub", SUBMIT), ("qstat", STATUS), ("qdel", "#!/bin/sh\n")):
        file = room / "bin" / name
        file.write_text(text.format(**told))
        file.chmod(0o755)
    root = {"SGE_ROOT": str(room)} if grid_engine else {}
    return {"PATH": f"{room / 'bin'}:{os.environ['PATH']}"} | root
