"""The configuration of a study as values: methods, runs, and their text forms."""
