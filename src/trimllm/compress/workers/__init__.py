"""Scripts that run in the environments of external engines; they never import trimllm."""
