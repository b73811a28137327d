"""The RAdam paper's tables and figures, each reproduced by one command, with the published numbers next to ours."""

from .catalog import EXPERIMENTS, Experiment, Scale, experiment

__all__ = ["EXPERIMENTS", "Experiment", "Scale", "experiment"]
