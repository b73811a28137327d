"""Figures and their numbers: the style that all pages share, and the page of the theory."""

from .theory_page.theory_files import Settings, write_theory

__all__ = ["Settings", "write_theory"]
