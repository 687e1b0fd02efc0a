"""Log-likelihoods of answers, packed."""

from trimllm.score.encode import encode_document, encode_pair, rendered, texts_of
from trimllm.score.forward import Scored, max_positions, score, score_rows
from trimllm.score.rows import Row, batches, fit
