"""Parameter groups by what weight decay is for."""

from typing import Any

from torch import nn

# Whose weights scale, or are looked up, whatever their shape.
_NORMS = (nn.LayerNorm, nn.RMSNorm)
_TABLES = (nn.Embedding, nn.EmbeddingBag)


def decay_groups(
    model: nn.Module, weight_decay: float, decay_embeddings: bool = False, **options: Any
) -> list[dict[str, Any]]:
    """Two parameter groups: weights that decay; norms, biases, other vectors and scalars, and embeddings that do not.

    A parameter that is used in several places decays if it does in one of them (an embedding tied to an output layer).
    Frozen parameters are left out; thaw them before, or add them as a group of their own.

    Args:
        model: whose parameters.
        weight_decay: of the first group; the second has 0.
        decay_embeddings: whether embeddings decay too.
        options: of both groups, such as lr.

    Returns:
        Groups of named parameters; an empty one is left out.

    >>> model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    >>> [(group["weight_decay"], [name for name, _ in group["params"]]) for group in decay_groups(model, 0.1)]
    [(0.1, ['0.weight']), (0.0, ['0.bias', '1.weight', '1.bias'])]
    """
    names = {p: name for name, p in model.named_parameters() if p.requires_grad}
    spared = _NORMS if decay_embeddings else (*_NORMS, *_TABLES)
    decays = {
        p
        for module in model.modules()
        for p in module.parameters(recurse=False)
        if p.ndim >= 2 and not isinstance(module, spared)
    }
    groups = []
    for decay, chosen in ((weight_decay, True), (0.0, False)):
        mine = [(name, p) for p, name in names.items() if (p in decays) == chosen]
        if mine:
            groups.append({"params": mine, "weight_decay": decay, **options})
    return groups
