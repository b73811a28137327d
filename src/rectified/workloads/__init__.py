"""Workloads: tasks, their models and their data, independent of optimizers and studies."""
