"""Programs that run an engine and know nothing of trimllm."""
