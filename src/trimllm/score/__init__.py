"""Log-likelihoods of answers, packed."""

from trimllm.score.encode import encode_document, encode_pair, rendered, texts_of  # noqa: F401
from trimllm.score.rows import Row, batches, fit  # noqa: F401
from trimllm.score.scorer import Scored, max_positions, score, score_rows  # noqa: F401
