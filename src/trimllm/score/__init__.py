"""Log-likelihoods of multiple-choice answers, packed."""

from trimllm.score.encode import encode_pair, encode_text
from trimllm.score.rows import Batch, Row, batch_of, batches
from trimllm.score.scorer import Scored, row_of, score, score_rows

__all__ = [
    "Batch",
    "Row",
    "Scored",
    "batch_of",
    "batches",
    "encode_pair",
    "encode_text",
    "row_of",
    "score",
    "score_rows",
]
