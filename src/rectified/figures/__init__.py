"""Figures with the numbers in them: the theory's, as files and as one page; and the look that every page shares."""

from .write import Settings, write_theory

__all__ = ["Settings", "write_theory"]
