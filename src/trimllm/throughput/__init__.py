"""Speed and memory of models, timed in turn: by a bare loop, and in engines as people run them.
`subject` and `result` import no torch."""
