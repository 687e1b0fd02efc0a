"""Evaluation by lm-evaluation-harness; importing this room registers its model `trimllm`."""

from trimllm.evaluate.harness import evaluate
from trimllm.evaluate.model import TrimLM
from trimllm.evaluate.tasks import task_of_documents

__all__ = ["TrimLM", "evaluate", "task_of_documents"]
