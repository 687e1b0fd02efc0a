"""Log-likelihoods of multiple-choice answers, packed."""

from trimllm.score.encode import encode_pair
from trimllm.score.rows import Row, batches
from trimllm.score.scorer import Scored, row_of, score, score_rows

__all__ = ["Row", "Scored", "batches", "encode_pair", "row_of", "score", "score_rows"]
