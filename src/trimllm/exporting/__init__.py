"""Exports: a checkpoint written for an engine, and verified there before it is saved."""
