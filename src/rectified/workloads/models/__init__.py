"""The tasks' models, as their papers have them; each initialised as its source does."""
