"""The last room: the only one that knows the paper. Its tables, its numbers, our verdicts.

`published` (what the paper prints) and `measured` (what results/eval holds) meet in `verdict`;
`table2` and its later siblings arrange both into a `table`, which `render` writes.
"""
