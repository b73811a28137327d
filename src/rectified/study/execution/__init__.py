"""Executing one run, from its first step or its checkpoint to its result."""
