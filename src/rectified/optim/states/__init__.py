"""What is kept for a parameter between steps: counts, moments and their dtypes, shards."""
