"""Texts: found, checked, read, cut into words or pieces."""
