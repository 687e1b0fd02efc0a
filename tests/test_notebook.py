"""docs/notebook.ipynb shows what its cells give; `python tests/test_notebook.py` writes it anew."""

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
# A number with a fraction may differ from processor to processor: a loss in its last digits, a
# share of the 70 held-back documents (and its bar) by one or two of them.
MEASURED = re.compile(r"-?\d+\.\d+")
APART = 0.04


def executed(notebook: NotebookNode) -> NotebookNode:
    """The notebook with the outputs of its cells, run in order in one namespace, in its folder."""
    result, space = nbformat.from_dict(notebook), {"__name__": "__main__"}
    cells = [cell for cell in result.cells if cell.cell_type == "code"]
    with contextlib.chdir(NOTEBOOK.parent):
        for number, cell in enumerate(cells, 1):
            cell.execution_count, cell.outputs = number, _run(cell.source, space, number)
    nbformat.validate(result)
    return result


def _run(source: str, space: dict[str, Any], number: int) -> list[NotebookNode]:
    """What a cell shows: its streams, its last value as Jupyter would, its figures."""
    outputs, value = [], None
    tree, out, err = ast.parse(source), io.StringIO(), io.StringIO()
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        exec(compile(tree, f"cell {number}", "exec"), space)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), space)
    for name, stream in (("stdout", out), ("stderr", err)):
        lines = stream.getvalue().split("\n")  # without what was written over
        if text := "\n".join(line.rsplit("\r", 1)[-1].rstrip() for line in lines):
            outputs.append(v4.new_output("stream", name=name, text=text))
    if value is not None and not source.endswith(";"):
        data = {"text/plain": repr(value)}
        if hasattr(value, "_repr_html_"):
            data["text/html"] = value._repr_html_()
        outputs.append(v4.new_output("execute_result", data, execution_count=number))
    for figure in map(pyplot.figure, pyplot.get_fignums()):
        image, options = io.BytesIO(), {"dpi": 60, "bbox_inches": "tight"}
        figure.savefig(image, metadata={"Software": None}, **options)
        data = {"image/png": base64.b64encode(image.getvalue()).decode(), "text/plain": "<Figure>"}
        outputs.append(v4.new_output("display_data", data))
    pyplot.close("all")
    return outputs


def shown(notebook: NotebookNode) -> Iterator[tuple[str, str]]:
    """Texts that the cells show, with their ids, but for progress, which has times."""
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = output.get("data") or {"text": output.text}
            for kind in sorted(data.keys() - {"image/png"}):
                if output.get("name") != "stderr":
                    yield f"{cell.id} {kind}", data[kind]


@pytest.mark.slow
def test_the_notebook_shows_what_its_cells_give() -> None:
    kept = nbformat.read(NOTEBOOK, as_version=4)
    for (cell, before), (again, now) in zip(shown(kept), shown(executed(kept)), strict=True):
        assert cell == again and MEASURED.split(before) == MEASURED.split(now)
        numbers = [list(map(float, MEASURED.findall(text))) for text in (before, now)]
        assert numbers[0] == pytest.approx(numbers[1], rel=APART, abs=0.02), cell


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    matplotlib.use("agg")
    nbformat.write(executed(nbformat.read(NOTEBOOK, as_version=4)), NOTEBOOK)
