"""docs/notebook.ipynb shows what its cells give; `python tests/test_notebook.py` writes it anew."""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import pytest
from matplotlib import pyplot
from nbformat import NotebookNode, v4

NOTEBOOK = Path(__file__).parents[1] / "docs/notebook.ipynb"


class Stream(io.StringIO):
    """A stream that calls itself as those of a Jupyter kernel do, for what it shows is the same."""

    __module__ = "ipykernel.iostream"

    def shown(self) -> str:
        """What is left of lines that were written over."""
        lines = self.getvalue().split("\n")
        return "\n".join(line.rsplit("\r", 1)[-1].rstrip() for line in lines)


# A number with a fraction may differ from processor to processor: a loss in its last digits, a
# share of the 70 held-back documents (and its bar) by one or two of them.
MEASURED = re.compile(r"-?\d+\.\d+")
APART = 0.04


def executed(notebook: NotebookNode) -> NotebookNode:
    """The notebook with the outputs of its cells, run in order in one namespace, in its folder."""
    found, space = nbformat.from_dict(notebook), {"__name__": "__main__"}
    with contextlib.chdir(NOTEBOOK.parent):
        cells = [cell for cell in found.cells if cell.cell_type == "code"]
        for number, cell in enumerate(cells, 1):
            cell.execution_count = number
            cell.outputs = _run(cell.source, space, number)
    nbformat.validate(found)
    return found


def _run(source: str, space: dict[str, Any], number: int) -> list[NotebookNode]:
    """What a cell shows: its streams, its last value as Jupyter would, its figures."""
    shown: list[NotebookNode] = []
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    streams = {"stdout": Stream(), "stderr": Stream()}
    with (
        contextlib.redirect_stdout(streams["stdout"]),
        contextlib.redirect_stderr(streams["stderr"]),
    ):
        exec(compile(tree, f"cell {number}", "exec"), space)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), space)
            if value is not None and not source.endswith(";"):
                data = {"text/plain": repr(value)}
                if hasattr(value, "_repr_html_"):
                    data["text/html"] = value._repr_html_()
                shown.append(v4.new_output("execute_result", data, execution_count=number))
    for figure in map(pyplot.figure, pyplot.get_fignums()):
        figure.savefig(
            image := io.BytesIO(), dpi=60, bbox_inches="tight", metadata={"Software": None}
        )
        data = {"image/png": base64.b64encode(image.getvalue()).decode(), "text/plain": "<Figure>"}
        shown.append(v4.new_output("display_data", data))
    pyplot.close("all")
    told = ((name, stream.shown()) for name, stream in streams.items())
    return [*(v4.new_output("stream", name=n, text=text) for n, text in told if text), *shown]


def shown(notebook: NotebookNode) -> Iterator[tuple[str, str]]:
    """Texts that the cells show, with their ids, but for progress, which has times."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            if output.get("name") != "stderr":
                data = output.get("data") or {"text": output.text}
                texts = ((kind, text) for kind, text in sorted(data.items()) if kind != "image/png")
                yield from ((f"{cell.id} {kind}", text) for kind, text in texts)


@pytest.mark.slow
def test_the_notebook_shows_what_its_cells_give() -> None:
    kept = nbformat.read(NOTEBOOK, as_version=4)
    for (cell, before), (again, now) in zip(shown(kept), shown(executed(kept)), strict=True):
        assert cell == again and MEASURED.split(before) == MEASURED.split(now)
        numbers = [list(map(float, MEASURED.findall(text))) for text in (before, now)]
        assert numbers[0] == pytest.approx(numbers[1], rel=APART, abs=0.02), cell


def test_the_notebook_shows_what_it_promises() -> None:
    """Kept outputs: a chart of a scan, two frames, and progress that has ended."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    text = "".join(text for _, text in shown(notebook))
    assert text.count("<Figure>") == 1 and text.count('class="dataframe"') == 2
    streams = [
        one.text
        for cell in notebook.cells
        for one in cell.get("outputs", ())
        if one.get("name") == "stderr"
    ]
    lines = "".join(streams).splitlines()
    assert lines and all("100%|" in line for line in lines)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    matplotlib.use("agg")
    nbformat.write(executed(nbformat.read(NOTEBOOK, as_version=4)), NOTEBOOK)
