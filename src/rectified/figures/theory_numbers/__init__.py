"""The theory's numbers as tables: computed ones, and simulated ones to compare."""
