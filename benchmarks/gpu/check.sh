#!/bin/sh
# Everything about a GPU in one command, in under six minutes: the CUDA tests, step times, images, a small study.
#
#     benchmarks/gpu/check.sh OUT_DIR          on a machine with an NVIDIA GPU, torch and pytest; no network
#     benchmarks/gpu/check.sh OUT_DIR --cpu    a rehearsal without one, at small sizes
#
# Writes OUT_DIR/CARD.md for people, OUT_DIR/CARD.json for programs (CARD as in nvidia-h200), and each part's own files.
# PYTHON names another python3. Results worth keeping go to benchmarks/results/gpu/, whose README says how.
cd "$(dirname "$0")/../.." || exit 2
PYTHONPATH="src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 exec "${PYTHON:-python3}" benchmarks/gpu/check.py "$@"
