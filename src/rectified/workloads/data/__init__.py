"""The tasks' data: find it or fetch it, check it, keep it in a cache, read it."""

from .find import DataNotFoundError

__all__ = ["DataNotFoundError"]
