"""Data: from published rows to documents, split so that nothing leaks.

A row passes through `sources` (reading), `rows` (fields), `construct` (documents), `sets` (order)
and `prepare` (splits, checks, files, report). Only documents are imported here: `prepare` imports
scikit-learn, `hub` lm-eval and `datasets`.
"""

from trimllm.data.document import Document, all_free, read_documents, write_documents

__all__ = ["Document", "all_free", "read_documents", "write_documents"]
