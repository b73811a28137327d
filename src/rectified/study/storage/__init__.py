"""A study's folder on disk, and the records read back from it."""
