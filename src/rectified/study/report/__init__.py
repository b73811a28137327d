"""One self-contained page with what came out of a study, and its figures as files."""

from .write import last_baseline, write_figures, write_report

__all__ = ["last_baseline", "write_figures", "write_report"]
