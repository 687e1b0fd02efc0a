"""Fetch wheels (`wheels`, light) and models (`models`): checked by sha256, written atomically."""
