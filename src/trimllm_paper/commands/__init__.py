"""Commands behind `trimllm` (`python -m trimllm_paper`), one a file."""
