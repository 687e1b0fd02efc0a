"""Tiny wheels and row files for the tests of data and fetch, and where real wheels lie."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DOWNLOADS = Path(os.environ.get("TRIMLLM_DOWNLOADS", Path(__file__).parents[3] / "downloads"))


def lines(rows: Iterable[Any]) -> str:
    """JSON lines; a string stands as it is, so that a test can break a line."""
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows)


def make_wheel(folder: Path, name: str, members: dict[str, bytes | str]) -> tuple[Path, str]:
    """Write a wheel of version 1.0; gives its path and sha256."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        about = {"METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"}
        about |= {"WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
        for file, text in about.items():
            archive.writestr(f"{name.replace('-', '_')}-1.0.dist-info/{file}", text)
        for member, content in members.items():
            archive.writestr(member, content)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def question_rows(count: int, prefix: str = "q") -> list[dict[str, Any]]:
    """Rows with two choices, question, list of choices, index."""
    return [
        {"question": f"{prefix} {i}?", "choices": [f"yes {i}", f"no {i}"], "answer": i % 2}
        for i in range(count)
    ]
