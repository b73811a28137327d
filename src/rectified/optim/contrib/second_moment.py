"""Adam whose v does not begin at 0, so that its first steps are small without any warmup."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ...warmup import Warmup
from ..adam import Adam
from ..step.options import Group, number
from ..step.plan import State, state_dtype


class GIAdam(Adam):
    r"""Gradient-initialised Adam: v starts from the first gradient's square.

    .. math:: v_0 = g_1^2, \qquad m_0 = 0, \qquad \text{then Adam, with its bias corrections}

    v_1 is g_1^2 and not (1 - beta2) g_1^2, yet is divided by 1 - beta2 all the same: while gradients keep their size
    the step is Adam's times sqrt(1 - beta2^t), from 0.03 on at beta2 = 0.999.

    Args:
        params, lr, betas, eps, weight_decay, decoupled_weight_decay, maximize, warmup: as in :class:`rectified.Adam`.

    Raises:
        ValueError, RuntimeError: as :class:`rectified.Adam`.

    >>> import torch
    >>> p = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    >>> optimizer = GIAdam([p], lr=0.1)
    >>> p.grad = torch.tensor([0.5, 2.0])
    >>> optimizer.step()
    >>> p.data
    tensor([ 0.9968, -1.0032])

    Reference: arXiv:2406.09405, section 6.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
        warmup: Warmup | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
            warmup=warmup,
        )

    @torch.no_grad()
    def _begin(self, group: Group) -> None:
        scale = self.__dict__.get("grad_scale")
        for p, g in _newcomers(group, self.state):
            g = g.to(state_dtype(p, group))
            if isinstance(scale, Tensor):
                g = g / number(scale)
            if group["weight_decay"] and not group["decoupled_weight_decay"]:
                g = (-g if group["maximize"] else g) + group["weight_decay"] * p
            _start(self.state, p, _square(g))


class RandomV0Adam(Adam):
    r"""Adam whose v starts at random, at the scale of the initial weights.

    .. math:: v_0 = \sigma z^2, \qquad z \sim \mathcal{N}\Big(0, \frac{2}{n_\text{in} + n_\text{out}}\Big)

    for weights of two dimensions or more, each element its own z; vectors and scalars begin at 0. The bias correction
    is Adam's, by which the first v_hat is about sigma z^2 / (1 - beta2): with sigma = 1 far above the gradients'
    square, so that the first 1 / (1 - beta2) steps are small ones.

    Args:
        params, lr, betas, eps, weight_decay, decoupled_weight_decay, maximize, warmup: as in :class:`rectified.Adam`.
        sigma: above 0. The paper scales it by task.

    Raises:
        ValueError: sigma is not positive; the others as :class:`rectified.Adam`.

    The z are drawn by torch's global generator when a parameter has its first gradient.

    >>> import torch
    >>> p = torch.nn.Parameter(torch.ones(4, 5))
    >>> optimizer = RandomV0Adam([p], sigma=0.1)
    >>> p.grad = torch.zeros(4, 5)
    >>> optimizer.step()
    >>> bool((optimizer.state[p]["exp_avg_sq"] > 0).all())
    True

    Reference: arXiv:2412.02153, section 3.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        sigma: float = 1.0,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
        warmup: Warmup | None = None,
    ) -> None:
        if not sigma > 0:
            raise ValueError(f"sigma is {sigma!r}; it must be above 0")
        self.sigma = sigma
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            decoupled_weight_decay=decoupled_weight_decay,
            maximize=maximize,
            warmup=warmup,
        )

    @torch.no_grad()
    def _begin(self, group: Group) -> None:
        for p, _ in _newcomers(group, self.state):
            v = torch.zeros_like(p, dtype=state_dtype(p, group), memory_format=torch.preserve_format)
            if p.ndim >= 2 and p.numel():
                fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(p)
                z = torch.randn_like(torch.view_as_real(v)) if v.is_complex() else torch.randn_like(v)
                z = z.square() * (2 * self.sigma / (fan_in + fan_out))
                v = torch.view_as_complex(z) if v.is_complex() else z
            _start(self.state, p, v)

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "sigma": self.sigma}


def _newcomers(group: Group, state: State) -> Iterator[tuple[Tensor, Tensor]]:
    """Parameters that have their first gradient. What the plan will refuse is left to it."""
    for p in group["params"]:
        if p.grad is not None and not p.grad.is_sparse and not state.get(p):
            yield p, p.grad


def _start(state: State, p: Tensor, v: Tensor) -> None:
    zero = torch.zeros_like(p, dtype=v.dtype, memory_format=torch.preserve_format)
    state[p] |= {"step": torch.tensor(0.0), "exp_avg": zero, "exp_avg_sq": zero.clone().copy_(v)}


def _square(x: Tensor) -> Tensor:
    """Of the real and of the imaginary part, as v has it."""
    return torch.view_as_complex(torch.view_as_real(x) ** 2) if x.is_complex() else x * x
