"""Trimming for one's own data, from a file of questions to a model that answers.

In the order of a run: `look` (at a file), `model` (at a model), `plan` (sizes that fit
time and machine), `answers` (of a checkpoint to held-back documents), `choice`, `card`, `report`.
"""
