"""Adam with a nonzero initial v, which makes its first steps small without a warmup."""

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ...warmup import Warmup
from .._torch import fans
from ..adam import Adam
from ..step.options import Group, value_of


class GIAdam(Adam):
    r"""Gradient-initialized Adam: v starts from the square of the first gradient.

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
    def new_state(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        assert p.grad is not None, "asked for at the first gradient"
        g, scale = p.grad.to(self.state_dtype(p, group, "exp_avg_sq")), self.__dict__.get("grad_scale")
        if isinstance(scale, Tensor):
            g = g / value_of(scale)
        if group["weight_decay"] and not group["decoupled_weight_decay"]:
            g = (-g if group["maximize"] else g) + group["weight_decay"] * p
        return {"exp_avg_sq": _square(g)}


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
        ValueError: sigma is not positive; otherwise as :class:`rectified.Adam`.
        RuntimeError: as :class:`rectified.Adam`.

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

        self.defaults["sigma"] = sigma
        for group in self.param_groups:
            group.setdefault("sigma", sigma)

    @torch.no_grad()
    def new_state(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        if p.ndim < 2 or not p.numel():
            return {}
        n_in, n_out = fans(p)
        v = torch.empty_like(p, dtype=self.state_dtype(p, group, "exp_avg_sq"), memory_format=torch.preserve_format)
        z = torch.randn_like(torch.view_as_real(v)) if v.is_complex() else torch.randn_like(v)
        z = z.square() * (2 * group["sigma"] / (n_in + n_out))
        return {"exp_avg_sq": torch.view_as_complex(z) if v.is_complex() else z}


def _square(x: Tensor) -> Tensor:
    """The squares of the real and imaginary parts, as in v."""
    return torch.view_as_complex(torch.view_as_real(x) ** 2) if x.is_complex() else x * x
