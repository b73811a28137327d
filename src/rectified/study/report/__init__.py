"""One self-contained page with what came out of a study."""

from .write import write_report

__all__ = ["write_report"]
