"""Figures and the numbers in them: the look that every page shares, and the theory's page."""

from .theory_page.theory_files import Settings, write_theory

__all__ = ["Settings", "write_theory"]
