"""The RAdam paper's tables and figures, each by one command, with its published numbers beside ours."""

from .catalog import EXPERIMENTS, Experiment, Scale, experiment

__all__ = ["EXPERIMENTS", "Experiment", "Scale", "experiment"]
