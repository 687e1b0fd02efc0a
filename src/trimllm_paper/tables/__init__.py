"""The paper's tables, `table1` to `table9`, each from the files that hold its numbers.

A table arranges what was measured and what the paper prints (`columns`, `accuracy_cell`) into a
`table`, which `render` writes; `notes` are the lines beneath. `criteria` builds the sections that
Tables 3, 6 and 9 have in common, `cross` is both Table 4 and 5, `durations` and `speeds` are what
Tables 9 and 1 read and judge.
"""
