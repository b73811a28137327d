"""Taking a step: which tensors are updated together, with which numbers, by which kernel."""
