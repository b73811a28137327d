"""A study's report: one self-contained page, and its figures as files."""

from .report_files import write_figures, write_report

__all__ = ["write_figures", "write_report"]
