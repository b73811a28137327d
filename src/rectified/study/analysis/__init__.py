"""From records to what may be concluded: pure functions, no files and no drawing."""
