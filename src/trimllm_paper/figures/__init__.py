"""The paper's figures, one file each, and the plot of README, in one `style`.

    figureN.draw(frame, context, stem)      writes STEM.pdf and STEM.png

`frame` holds all results (`trimllm_paper.frames`), `context` what the configuration shows of them
(`trimllm_paper.context`). Nothing heavy is imported here: rules ask for the names.
"""

from pathlib import Path

FIGURES = tuple(sorted(path.stem for path in Path(__file__).parent.glob("figure*.py")))
"""Names of all figures of the paper."""
