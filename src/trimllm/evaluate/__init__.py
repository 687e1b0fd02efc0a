"""Evaluation by lm-evaluation-harness; importing this room registers its model `trimllm`."""

from trimllm.evaluate.answers import task_of_answers
from trimllm.evaluate.harness import evaluate, task_of_documents
from trimllm.evaluate.model import TrimLM

__all__ = ["TrimLM", "evaluate", "task_of_answers", "task_of_documents"]
