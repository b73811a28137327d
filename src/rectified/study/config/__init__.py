"""What a study compares, as values: methods, runs, and the ways to write them down."""
