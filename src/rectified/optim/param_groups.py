"""Parameter groups with and without weight decay."""

import re
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

# Class names such as LayerNorm, BatchNorm2d, LlamaRMSNorm, ConvNextV2GRN; not NormedLinear, PreNormBlock.
_NORM = re.compile(r"(norm(\dd)?|GRN)$", re.IGNORECASE)
# Attributes that hold a bias, a scale or one vector for all inputs, whatever their shape.
_VECTOR = re.compile(
    r"(^|_)bias(es)?(_|$)"  # bias_k, bias_ih_l0, in_proj_bias, relative_position_bias_table
    r"|(^|_)(gamma|beta|scale|layer_scale\w*|tokens?)(_?\d+)?$"  # cls_token, reg_tokens, gamma_1, logit_scale
)
# Attributes that hold a table of vectors, outside of nn.Embedding.
_TABLE = re.compile(
    r"(^|_)(emb|embed|embeds|embedding|embeddings)(_?\d+d?)?$"  # class_embedding, position_embeddings
    r"|(^|_)pos(ition|itional)?_?(emb|enc|table)\w*$"  # pos_embed_win, pos_encoding, position_table
    r"|(^|_)(abs|rel|absolute|relative)_pos(_\w+)?$"  # rel_pos_h
    r"|^(wte|wpe)$"
)
# Parts that torch.compile, FSDP and activation checkpointing insert into names.
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}


def param_groups_weight_decay(
    model: nn.Module,
    weight_decay: float,
    *,
    skip: Iterable[str] = (),
    decay_embeddings: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """Split a model's parameters into a group with weight decay and a group without.

    Matrices and kernels decay. These do not:

    - vectors and scalars: every parameter with fewer than two dimensions;
    - biases of any shape, by name: `bias`, `in_proj_bias`, `bias_ih_l0`, and the `bias_k` and `bias_v` of
      `nn.MultiheadAttention`, which have three dimensions;
    - norms of any shape: parameters of a class, or of its subclass, whose name ends in `Norm`, `Norm1d`, `Norm2d`,
      `Norm3d` or `GRN`;
    - scales and single vectors, by name: `gamma`, `beta`, `logit_scale`, `layer_scale`, `cls_token`, `mask_token`, ...;
    - the magnitude g of `weight_norm`, in its old and its new form; its direction v decays;
    - embeddings: `nn.Embedding`, `nn.EmbeddingBag`, and by name `pos_embed`, `position_embeddings`,
      `class_embedding`, `rel_pos_h`, `wpe`, ...; with `decay_embeddings=True` they decay;
    - what `model.no_weight_decay()` returns, as timm's models define it, or that method of any submodule, whose
      names are relative to the submodule;
    - what `skip` names.

    A parameter that is used in several places decays if it decays in one of them. So an embedding that is tied to an
    output layer decays: the layer is a map, and large weights there mean large logits. `skip` and `no_weight_decay()`
    have the last word, by any of the parameter's names.

    Frozen parameters are left out: unfreeze them first, or add them later with `add_param_group`. Shapes and names
    are read without conversion. FSDP1 flattens parameters to vectors, so none would decay; FSDP2 keeps their shapes.

    Args:
        model: the model whose parameters are split, also inside `torch.compile` or `DistributedDataParallel`.
        weight_decay: the decay of the first group, 0 or more; the second group has 0.
        skip: more parameters without decay: names as in `model.named_parameters()`, glob patterns (`*.router.*`), or
            names of modules, which stand for all their parameters. Names of the model inside a wrapper work too.
        decay_embeddings: whether embeddings decay. Tokens such as `cls_token` never do.
        options: more options for both groups, such as `lr`.

    Returns:
        Two groups for any optimizer: with decay, without decay. Their `params` are pairs of name and parameter, in the
        model's order. A group without parameters is left out.

    Raises:
        ValueError: `weight_decay` is negative; an entry of `skip` matches no parameter; a lazy module has no shape yet.

    >>> model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    >>> for group in param_groups_weight_decay(model, 0.1, skip=["2.*"]):
    ...     print(group["weight_decay"], *[name for name, _ in group["params"]])
    0.1 0.weight
    0.0 0.bias 1.weight 1.bias 2.weight 2.bias

    Reference: `param_groups_weight_decay` of timm, https://huggingface.co/docs/timm/reference/optimizers. That function
    spares vectors, names that end in `.bias`, and `no_weight_decay()`; embeddings and the rest are additions here.
    """
    if not weight_decay >= 0:
        raise ValueError(f"Invalid weight_decay value: {weight_decay}; it must be 0 or more")
    places = dict(model.named_parameters(remove_duplicate=False))
    for name, p in places.items():
        if is_lazy(p):
            raise ValueError(f"{name} of {type(model).__name__} has no shape yet: run the model on one batch first")
    spared = {places[name] for name in [*_named_by(skip, model, places), *_named_by_modules(model, places)]}
    decaying = {p for p, decays in _decay_by_place(model, decay_embeddings) if decays} - spared
    groups = []
    for decay, wanted in ((weight_decay, True), (0.0, False)):
        params = [(name, p) for name, p in model.named_parameters() if p.requires_grad and (p in decaying) == wanted]
        if params:
            groups.append(dict(params=params, weight_decay=decay, **options))
    return groups


def _decay_by_place(model: nn.Module, decay_embeddings: bool) -> Iterator[tuple[nn.Parameter, bool]]:
    """Yield each parameter for each place where it is used, and whether it decays by the rule for that place."""
    for path, module in model.named_modules(remove_duplicate=False):
        siblings = dict(module.named_parameters(recurse=False, remove_duplicate=False))
        for attribute, p in siblings.items():
            owner, names = _owner(model, path, module, attribute)
            vector = p.ndim < 2 or any(_VECTOR.search(name) for name in names) or _is_magnitude(attribute, siblings)
            norm = any(_NORM.search(cls.__name__) for cls in type(owner).__mro__)
            table = isinstance(owner, nn.Embedding | nn.EmbeddingBag) or any(_TABLE.search(name) for name in names)
            yield p, not (vector or norm or (table and not decay_embeddings))


def _owner(model: nn.Module, path: str, module: nn.Module, attribute: str) -> tuple[nn.Module, list[str]]:
    """Return the module that uses a parameter and the names that describe it there.

    `layer.parametrizations.weight.original` is the `weight` of `layer`; an entry of a ParameterList or ParameterDict
    is described by the container's name too; pruning and the old spectral_norm rename `weight` to `weight_orig`.
    """
    *above, last = path.split(".")
    if isinstance(module, ParametrizationList) and above[-1:] == ["parametrizations"]:
        return model.get_submodule(".".join(above[:-1])), [last]
    if isinstance(module, nn.ParameterList | nn.ParameterDict):
        return module, [last, attribute]
    return module, [attribute.removesuffix("_orig")]


def _is_magnitude(attribute: str, siblings: dict[str, nn.Parameter]) -> bool:
    """Return whether a parameter is the g of weight_norm: it has a sibling v, and v's shape after a norm."""
    if attribute == "original0":
        v = siblings.get("original1")
    elif attribute.endswith("_g"):
        v = siblings.get(attribute.removesuffix("_g") + "_v")
    else:
        v = None
    return v is not None and _has_norms_shape(siblings[attribute], v)


def _has_norms_shape(g: Tensor, v: Tensor) -> bool:
    kept = [size for size in g.shape if size != 1]
    return g.ndim == v.ndim and len(kept) <= 1 and all(a in (1, b) for a, b in zip(g.shape, v.shape, strict=True))


def _named_by(skip: Iterable[str], model: nn.Module, names: Collection[str]) -> Iterator[str]:
    """Yield the names that the entries of skip match; raise for an entry that matches none."""
    for pattern in [skip] if isinstance(skip, str) else skip:
        found = [name for name in names if _matches(pattern, name)]
        if not found:
            near = ", ".join(map(repr, _near(pattern, names)))
            hint = f"did you mean {near}?" if near else "model.named_parameters() lists the names"
            raise ValueError(f"skip has {pattern!r}, which matches no parameter of {type(model).__name__}; {hint}")
        yield from found


def _named_by_modules(model: nn.Module, names: Collection[str]) -> Iterator[str]:
    """Yield the names that modules list in a method no_weight_decay(); as in timm, they may list absent ones."""
    for path, module in model.named_modules(remove_duplicate=False):
        method = getattr(module, "no_weight_decay", None)
        if callable(method):
            prefix = f"{path}." if path else ""
            patterns = list(method())
            for name in names:
                inside = name.removeprefix(prefix)
                if name.startswith(prefix) and any(_matches(pattern, inside) for pattern in patterns):
                    yield name


def _matches(pattern: str, name: str) -> bool:
    """Return whether a pattern is a parameter's name, its module's name, or a glob of it, with or without wrappers."""
    return any(
        fnmatchcase(spelling, pattern) or spelling.startswith(f"{pattern}.") for spelling in (name, _unwrapped(name))
    )


def _unwrapped(name: str) -> str:
    """Return a parameter's name without the parts that wrappers add, such as `module.` of DistributedDataParallel."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS).removeprefix("module.")


def _near(pattern: str, names: Collection[str]) -> list[str]:
    """Return up to three parameter names that resemble a pattern, as a whole or in their last part."""
    last = {name: name.rpartition(".")[2] for name in names}
    close = get_close_matches(pattern.strip("*."), [*last, *last.values()])
    return [name for name in last if name in close or last[name] in close][:3]
