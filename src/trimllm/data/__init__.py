"""Data: from published rows to documents, split so that nothing leaks.

In the order that a row walks through it: `sources` (where rows are read; `wheels` and `hub` among
them), `rows` (fields of a row), `construct` (rows made into documents), `prepare` (which document
goes where, checks, files, report). Documents alone are imported here: `prepare` brings scikit-learn
with it, `hub` also `datasets` and lm-eval.
"""

from trimllm.data.document import Document, all_free, read_documents, write_documents

__all__ = ["Document", "all_free", "read_documents", "write_documents"]
