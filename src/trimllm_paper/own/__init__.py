"""Trimming for one's own data, from a file of questions to a model that answers.

In the order of a run: `look` (a file is looked at), `model` (a model is), `asked` (what is wanted,
in words), `plan` (sizes that fit time and machine), `outside` (what a checkpoint says of held-back
documents and of neutral text), `choice` (one is chosen), `report` with `charts`.
"""
