"""The last room: the only one that knows the paper. Its tables, its numbers, our verdicts.

`published` (what the paper prints) and `measured` (what results/eval holds) meet in `verdict`;
`chains`, `cost` and `timings` read the other results. On these stand three rooms that do not know
each other: `tables` arranges all of it, `figures` draws it, `claims` checks the paper's sentences.
`overview` puts everything on one page. `tier` says of every number where it was measured.
"""
