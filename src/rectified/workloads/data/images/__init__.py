"""Image data sets: find, check and read them."""
