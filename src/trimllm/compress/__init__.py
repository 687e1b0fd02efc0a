"""Compressors: a checkpoint in, a smaller checkpoint out."""
