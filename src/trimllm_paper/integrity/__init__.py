"""What protects results: hashes of jobs and of code, refusal of foreign results, `make verify`."""
