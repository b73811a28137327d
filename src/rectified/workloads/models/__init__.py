"""Reference models, built from torch.nn modules and initialized as in their papers' code.

`cpu.py` makes the same models faster on a CPU; nothing else here is tuned.
"""
