"""What a person sees in the terminal: before, while and after a study runs."""
