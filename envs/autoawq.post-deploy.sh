#!/usr/bin/env bash
# Snakemake runs this in the new environment; the dependencies that autoawq declares are not wanted.
set -euo pipefail
python -m pip install --no-deps --no-build-isolation autoawq==0.2.9
