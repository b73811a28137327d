"""How long a step takes and what it needs: ours and every installed peer's, as ratios in one run.

Empty, since a worker may run in an environment that has torch and one peer, and nothing else.
"""
