"""The paper's figures and the plot of README (`drawings`). Rules ask for names: no heavy import."""

FIGURES = ("figure1", "figure2", "figure3", "figure4")
"""Names of all figures of the paper."""
