"""Commands behind `python -m trimllm_paper`, one a file."""
