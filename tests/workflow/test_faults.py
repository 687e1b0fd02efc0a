"""What the file system and the locale do to a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mounts import mounts
from runs import complaint, made, snakemake

from trimllm.base import files

pytestmark = pytest.mark.slow
REPORT = "results/data/lexglue/report.json"
CONFIG = {"configfile": "config.yaml"}


def assert_prepared(folder: Path) -> None:
    """The files of the domain are there, whole, with nothing beside them."""
    report = files.read_json(folder / REPORT)
    root = (folder / REPORT).parent
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert found == {"report.json", *report["files"]}


def test_no_space(project: Path) -> None:
    """Room is made, and the same command goes on."""
    (project / "results").mkdir()
    with mounts() as room:
        room.mount("-t", "tmpfs", "-o", "size=8k", "none", project / "results")
        line = complaint(snakemake(project, REPORT, prefix=room.prefix, **CONFIG))
        assert "[Errno 28] No space left on device" in line and "make room" in line
        room.mount("-o", "remount,size=8m", project / "results")
        made(project, REPORT, prefix=room.prefix, **CONFIG)
        assert_prepared(room.within(project))


def test_the_locale_c_and_hostile_labels(project: Path) -> None:
    """Letters beyond ASCII survive, and no text of the configuration reaches a shell."""
    path = project / "domains/lexglue.yaml"
    path.write_text(path.read_text().replace("label: sums", "label: Σ, naïve"), encoding="utf-8")
    with (project / "sums.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"q": "Où est le café?", "c": ["là", "ici"], "a": 0}\n')
    models = json.dumps({"tiny": {"label": "$(touch hacked) `touch hacked`; touch hacked"}})
    ascii_alone = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    made(project, REPORT, extra=ascii_alone, models=models, **CONFIG)
    assert_prepared(project)
    text = "".join(one.read_text("utf-8") for one in (project / REPORT).parent.rglob("*.jsonl"))
    assert "Où est le café?" in text or "O\\u00f9 est le caf\\u00e9?" in text
    assert not list(project.rglob("hacked"))
