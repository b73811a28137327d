"""The theory's numbers as tables, computed and simulated."""
