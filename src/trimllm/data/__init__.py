"""Data: from published rows to documents, split so that nothing leaks. A row passes through
`sources` (reading), `rows` (fields), `construct` (documents, order), `prepare` (splits, report)."""

from trimllm.data.document import Document, all_free, read_documents, write_documents
