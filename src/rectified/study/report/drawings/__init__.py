"""The report's figures, one module per kind: each returns a Drawing for the page and for files."""
