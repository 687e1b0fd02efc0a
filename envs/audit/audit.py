"""Known vulnerabilities of what is locked, and a bill of it: `make audit`.

    .envs/audit/bin/python envs/audit/audit.py requirements.lock envs/*/*.lock [-- WORDS]

build/sbom.json lists every release of the locks, in CycloneDX's form, and needs no network. Which
of them have a known vulnerability, pip-audit asks PyPI; WORDS are further ones of pip-audit
(`--ignore-vuln ID`, `-s osv`). The exit status is 0 if there is none, 1 if there is, and 2 where
nobody tells: no network, or an index that is a mirror without advisories.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(sys.executable).parent
SBOM = Path("build/sbom.json")


class Silence(Exception):
    """Nobody tells what is known, and why not."""


def releases(lock: Path) -> list[str]:
    """NAME==VERSION of a lock, in its order."""
    lines = (line.partition("#")[0].strip() for line in lock.read_text().splitlines())
    return [line for line in lines if line]


def write_sbom(locked: list[str]) -> None:
    """The bill of releases, of several locks together."""
    SBOM.parent.mkdir(exist_ok=True)
    words = ["requirements", "-", "--of", "JSON", "-o", str(SBOM), "--output-reproducible"]
    tool = [str(TOOLS / "cyclonedx-py"), *words]
    subprocess.run(tool, input="\n".join(locked), text=True, check=True, stderr=subprocess.DEVNULL)


def ask(lock: Path, words: list[str]) -> list[dict]:
    """What is known of each release of a lock, by pip-audit. Raises `Silence`."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        # Advisories are of releases: a build of one (torch 2.13.0+cpu) has none of its own.
        file.write("\n".join(one.partition("+")[0] for one in releases(lock)))
        file.flush()
        how = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "-f", "json"]
        tool = [str(TOOLS / "pip-audit"), *how, "-r", file.name, *words]
        run = subprocess.run(tool, capture_output=True, text=True)
    try:
        found = json.loads(run.stdout)["dependencies"]
    except ValueError:
        last = (run.stderr.strip().splitlines() or ["pip-audit said nothing"])[-1]
        host = re.search(r"host='([^']+)'", last)
        raise Silence(f"{host[1]} does not answer" if host else last) from None
    if silent := [one["skip_reason"] for one in found if "skip_reason" in one]:
        raise Silence(f"of {len(silent)} of {len(found)} releases of {lock}: {silent[0]}")
    return found


def main(words: list[str]) -> int:
    """Write the bill and say what is known; the exit status."""
    end = words.index("--") if "--" in words else len(words)
    locks = [Path(name) for name in words[:end]]
    locked = sorted({one for lock in locks for one in releases(lock)}, key=str.lower)
    write_sbom(locked)
    bill = f"{len(locked)} releases of {len(locks)} locks are listed in {SBOM}"
    known = {}
    try:
        for lock in locks:
            for one in ask(lock, words[end + 1 :]):
                known |= {(one["name"], one["version"], v["id"]): v for v in one["vulns"]}
    except Silence as why:
        print(f"error: no advisories ({why}); this needs the network; {bill}", file=sys.stderr)
        return 2
    for (name, version, number), one in sorted(known.items()):
        fixed = ", ".join(one["fix_versions"]) or "nothing yet"
        print(f"{name} {version}: {number}, mended by {fixed}")
    print(f"{len(known) or 'No'} known vulnerabilities; {bill}")
    return bool(known)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
