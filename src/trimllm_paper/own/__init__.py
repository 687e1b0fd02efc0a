"""Trimming for one's own data: `look`, `model`, `plan`, `answers`, `choice`, `report`."""
