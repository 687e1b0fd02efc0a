"""The paper's figures, one file each, in one `style`; a new file is a new figure.

    figureN.draw(frame, context, stem)      writes STEM.pdf and STEM.png

`frame` holds all results (`trimllm_paper.frames`), `context` what the configuration shows of them
(`trimllm_paper.context`). What was not measured is left out of a figure and named beneath it.
`panels` holds what panels have in common. Nothing heavy is imported here: rules ask for the names.
"""

from pathlib import Path

FIGURES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("figure*.py")))
"""Names of all figures."""
