#!/bin/sh
# Everything about a GPU in one command, in under six minutes: the CUDA tests, step times, a small study.
#
#     benchmarks/gpu/check.sh OUT_DIR          on a machine with an NVIDIA GPU, torch and pytest; no network
#     benchmarks/gpu/check.sh OUT_DIR --cpu    a rehearsal without one, at small sizes
#
# Writes OUT_DIR/gpu.md for people, OUT_DIR/gpu.json for programs, and a log of each part. PYTHON names another python3.
cd "$(dirname "$0")/../.." || exit 2
PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 exec "${PYTHON:-python3}" benchmarks/gpu/check.py "$@"
