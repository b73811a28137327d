"""One self-contained page with what came out of a study, and its figures as files."""

from .report_files import last_baseline, write_figures, write_report

__all__ = ["last_baseline", "write_figures", "write_report"]
