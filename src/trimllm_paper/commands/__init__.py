"""Commands behind `trimllm` (`python -m trimllm_paper`), about one a file."""
