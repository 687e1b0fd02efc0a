"""Data: from published rows to documents, split so that nothing leaks.

In the order of a row's way: `sources` (reading; `lines` and `hub` among them), `rows` (fields),
`construct` (documents), `sets` and `split` (order), `prepare` (splits, checks, files, report).
Documents alone are imported here: `prepare` imports scikit-learn, `hub` lm-eval and `datasets`.
"""

from trimllm.data.document import Document, all_free, read_documents, write_documents

__all__ = ["Document", "all_free", "read_documents", "write_documents"]
