#!/usr/bin/env bash
# Snakemake runs this in the new environment; the dependencies that auto-gptq declares are not wanted.
set -euo pipefail
python -m pip install --no-deps --no-build-isolation auto-gptq==0.7.1
