"""Benchmarks of optimizer steps: time and memory of our methods and of every installed peer, as ratios in one run.

This module imports nothing, since a worker may run in an environment that has only torch and one peer.
"""
