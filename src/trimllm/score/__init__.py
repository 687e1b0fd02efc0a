"""Log-likelihoods of answers, packed."""

from trimllm.score.encode import encode_document, encode_pair, rendered, texts_of
from trimllm.score.rows import Row, batches, fit
from trimllm.score.scorer import Scored, max_positions, row_of, score, score_rows

__all__ = [
    *("Row", "Scored", "batches", "encode_document", "encode_pair", "fit", "max_positions"),
    *("rendered", "row_of", "score", "score_rows", "texts_of"),
]
