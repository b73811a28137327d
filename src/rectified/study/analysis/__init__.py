"""Statistics and the verdict, computed from records: pure functions, no files and no drawing."""
