"""The state of a warmup as numbers that training loops log."""

from typing import Any

from ..optim import Adam, Explanation, explain


def warmup_metrics(optimizer: Any) -> dict[str, float]:
    """omega and the effective lr of the next step, by name.

    Args:
        optimizer: one that :func:`rectified.explain` supports, possibly inside a trainer's wrapper
            (AcceleratedOptimizer, LightningOptimizer).

    Returns:
        ``omega`` and ``effective_lr`` as in :func:`rectified.explain`; with several parameter groups ``omega/group0``,
        ``effective_lr/group0``, ``omega/group1`` and so on. If the parameters of a group have taken different numbers
        of steps, the values are for those with the most.

    Raises:
        TypeError: the optimizer is not supported.

    >>> import torch, rectified
    >>> from rectified.warmup import Linear
    >>> optimizer = rectified.AdamW([torch.nn.Parameter(torch.ones(3))], lr=0.5, warmup=Linear(100))
    >>> warmup_metrics(optimizer)
    {'omega': 0.01, 'effective_lr': 0.005}
    """
    while not isinstance(optimizer, Adam) and hasattr(optimizer, "optimizer"):
        optimizer = optimizer.optimizer
    groups: dict[int, Explanation] = {}
    for entry in explain(optimizer):
        groups.setdefault(entry.group, entry)  # the highest step count comes first
    metrics = {}
    for index, entry in groups.items():
        suffix = f"/group{index}" if len(groups) > 1 else ""
        metrics[f"omega{suffix}"] = entry.omega
        metrics[f"effective_lr{suffix}"] = entry.effective_lr
    return metrics
