"""What the kernel and those who launch it agree on."""

COLUMNS = (
    "params",
    "grads",
    "m",
    "v",
    "v_max",
    "compensation",
    "m_scale",
    "v_scale",
    "size",
    "is_aligned",
)
"""The columns of the table: addresses of a tensor and its states, its size, and whether its addresses are aligned."""

NUMBERS = ("scale", "momentum", "gain1", "gain2", "eps", "l2", "keep", "sign", "t")
"""The numbers of a step that is counted on the device, in this order."""

BLOCK = 1024
"""Elements of a chunk, which is a program's work."""

WARPS = 4
"""Warps of 32 threads of a program."""

ALIGNMENT = 16
"""Bytes of the widest load."""
