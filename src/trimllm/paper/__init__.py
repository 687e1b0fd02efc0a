"""The last room: the only one that knows the paper. Its tables, its numbers, our verdicts.

`published` (what the paper prints) and `measured` (what results/eval holds) meet in `verdict`;
`table2` and its siblings arrange both into a `table`, which `render` writes; `figure1` to
`figure4` draw them in one `style`; `claims` checks the paper's sentences on the `evidence`;
`overview` puts everything on one page. `tier` says of every number where it was measured.
"""
