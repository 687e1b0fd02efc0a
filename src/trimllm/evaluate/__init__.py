"""Evaluation by lm-evaluation-harness."""

from trimllm.evaluate.run import evaluate
