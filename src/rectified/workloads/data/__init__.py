"""The tasks' data: finding or fetching it, verifying it, caching it, and reading it."""

from .find import DataNotFoundError

__all__ = ["DataNotFoundError"]
