"""A step: which tensors move together, by which numbers, through which kernel."""
