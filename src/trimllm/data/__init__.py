"""Data: from published rows to multiple-choice documents, split so that nothing leaks.

In the order that a row walks through it: `sources` (where rows are read), `rows` (fields of a row),
`construct` (rows made into documents), `split` (which document goes where), `prepare` (checks,
files, report). `spec` checks the declaration of a domain.
"""

from trimllm.data.document import Document, read_documents, write_documents
from trimllm.data.prepare import prepare

__all__ = ["Document", "prepare", "read_documents", "write_documents"]
