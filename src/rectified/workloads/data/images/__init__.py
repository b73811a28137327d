"""Sets of images: found, checked, read."""
