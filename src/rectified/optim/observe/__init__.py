"""Warmups that observe the run: what they see of a step, and what they remember in a group."""
