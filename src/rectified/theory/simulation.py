"""Simulation of Adam's averages on random gradients: the variances in the formulas, with standard errors.

`rectified.theory` does not import this module, which needs torch's tensors; the others use plain floats.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .checks import check_beta2
from .sma import rho


@dataclass(frozen=True)
class Gradients:
    """A law of gradients of variance 1, every path and, without correlation, every step independent.

    Args:
        mu: their mean.
        freedom: degrees of freedom of Student's t, scaled to variance 1, above 2; infinite for the normal law.
        correlation: of a gradient with the one of the step before (a stationary AR(1) process), in [0, 1); normal only.

    Raises:
        ValueError: a value is outside its range.

    >>> str(Gradients(mu=0.1)), str(Gradients(freedom=3)), str(Gradients(correlation=0.9))
    ('N(0.1, 1)', 't(3), scaled', 'AR(0.9)')
    """

    mu: float = 0.0
    freedom: float = math.inf
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if not -math.inf < self.mu < math.inf:
            raise ValueError(f"mu is {self.mu!r}; it must be a finite number")
        if not self.freedom > 2:
            raise ValueError(f"freedom is {self.freedom!r}; Student's t has a variance above 2 only")
        if not 0 <= self.correlation < 1:
            raise ValueError(f"correlation is {self.correlation!r}; it must lie in [0, 1)")
        if self.correlation and self.freedom < math.inf:
            raise ValueError(f"correlation is {self.correlation!r}; only normal gradients can be correlated here")

    def __str__(self) -> str:
        if self.freedom < math.inf:
            return f"t({self.freedom:g}), scaled" + (f" + {self.mu:g}" if self.mu else "")
        if self.correlation:
            return f"AR({self.correlation:g})" + (f" + {self.mu:g}" if self.mu else "")
        return f"N({self.mu:g}, 1)"


@dataclass(frozen=True)
class Sample:
    """Moments over the paths, float64 of shape (laws, steps looked at); `variance` with its standard error."""

    mean: Tensor
    variance: Tensor
    error: Tensor


@dataclass(frozen=True)
class Simulation:
    """The result of :func:`simulate`.

    Attributes:
        at: the steps looked at, one a column of each sample.
        psi: of 1/sqrt(v_hat), Adam's adaptive learning rate.
        update: of m_hat/sqrt(v_hat), the whole update.
        sma: of 1/sqrt(the mean of the last rho_t squared gradients); None unless asked for.
    """

    laws: tuple[Gradients, ...]
    beta1: float
    beta2: float
    paths: int
    at: tuple[int, ...]
    psi: Sample
    update: Sample
    sma: Sample | None


@contextmanager
def one_thread() -> Iterator[None]:
    """A context with one thread, since a simulation's tensors are too small for several."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@one_thread()
def simulate(
    laws: Sequence[Gradients],
    beta2: float = 0.999,
    beta1: float = 0.9,
    paths: int = 5_000,
    steps: int = 6_000,
    seed: int = 0,
    sma: bool = False,
    at: Sequence[int] | None = None,
    on_step: Callable[[], object] = lambda: None,
) -> Simulation:
    """Run Adam's two averages over random gradients and take moments over the paths at each step.

    The same normal numbers serve all laws, so that their differences are paired. Memory does not grow with the steps.
    Normal numbers are drawn in float32, in a quarter of the time (they end at 5.8 deviations, beyond which lie 8e-9 of
    the normal law); everything else is float64.

    The standard error of a variance is sqrt((m_4 - variance^2)/paths), m_4 being the fourth central moment. For psi
    m_4 is infinite up to t = 4 (and its variance up to t = 2) for every law with a density above 0 at 0: the estimates
    there have no finite standard error, and it is given as infinite.

    Args:
        laws: what the gradients are drawn from.
        beta2, beta1: decay rates of v and m.
        paths: independent repetitions, at least 2.
        steps: steps of each.
        seed: of the generator.
        sma: also the simple moving average of the last rho_t squared gradients, a part of one where rho_t is no
            whole number.
        at: the steps at which moments are taken, increasing; all of them unless given. The averages take every step.
        on_step: called after each step, for a progress bar.

    Raises:
        ValueError: an argument is outside its range.

    >>> found = simulate([Gradients()], paths=20_000, steps=10)
    >>> abs(found.psi.variance[0, 9] - 0.0755) < 4 * found.psi.error[0, 9]
    tensor(True)
    """
    check_beta2(beta2)
    if not 0 <= beta1 < 1:
        raise ValueError(f"beta1 is {beta1!r}; it must lie in [0, 1)")
    if paths < 2 or steps < 1 or not laws:
        raise ValueError(f"{len(laws)} laws, {paths} paths, {steps} steps; there must be 1, 2 and 1 at least")
    at = tuple(range(1, steps + 1) if at is None else at)
    if not at or any(a >= b for a, b in pairwise((0, *at, steps + 1))):
        raise ValueError(f"at is {at!r}; it must hold increasing steps from 1 to {steps}")
    m = torch.zeros(len(laws), paths, dtype=torch.float64)
    v, square = torch.zeros_like(m), torch.empty_like(m)
    window = _Window(lambda: draw(laws, paths, seed), m.shape) if sma else None
    found: dict[str, list[Tensor]] = {"psi": [], "update": [], "sma": []}
    looked = set(at)
    for t, g in zip(range(1, steps + 1), draw(laws, paths, seed), strict=False):
        torch.mul(g, g, out=square)
        m.lerp_(g, 1 - beta1)
        v.lerp_(square, 1 - beta2)
        length = rho(t, beta2)
        if window is not None:
            window.add(square, length)
        if t in looked:
            psi = torch.rsqrt(v / -math.expm1(t * math.log(beta2)) if beta2 else v)
            found["psi"].append(moments(psi, finite=t > 4))
            found["update"].append(moments(psi.mul_(m).div_(1 - beta1**t), finite=True))
            if window is not None:
                found["sma"].append(moments(window.mean(length).rsqrt_(), finite=length > 4))
        on_step()
    samples = {name: Sample(*torch.stack(column, dim=-1)) for name, column in found.items() if column}
    return Simulation(
        tuple(laws), beta1, beta2, paths, at, psi=samples["psi"], update=samples["update"], sma=samples.get("sma")
    )


def draw(laws: Sequence[Gradients], paths: int, seed: int) -> Iterator[Tensor]:
    """Yield gradients of shape (laws, paths) step by step, forever; each tensor is valid until the next one."""
    generator = torch.Generator().manual_seed(seed)
    mu = torch.tensor([law.mu for law in laws], dtype=torch.float64).unsqueeze(1)
    correlation = torch.tensor([law.correlation for law in laws], dtype=torch.float64).unsqueeze(1)
    heavy = [i for i, law in enumerate(laws) if law.freedom < math.inf]
    freedom = torch.tensor([laws[i].freedom for i in heavy], dtype=torch.float64).unsqueeze(1)
    correlated = bool(correlation.any())
    fresh = torch.randn(paths, generator=generator).double()
    z = fresh.expand(len(laws), paths).clone() if correlated else fresh  # an AR(1) process begins in its own law
    g = torch.empty(len(laws), paths, dtype=torch.float64)
    while True:
        torch.add(z, mu, out=g)
        if heavy:
            # Bailey's polar method (1994): exact for every freedom.
            u = 1 - torch.rand(paths, generator=generator, dtype=torch.float64)
            angle = 2 * math.pi * torch.rand(paths, generator=generator, dtype=torch.float64)
            radius = torch.sqrt((freedom - 2) * (u ** (-2 / freedom) - 1))  # times sqrt(freedom), over its deviation
            g[heavy] = mu[heavy] + radius * torch.cos(angle)
        yield g
        fresh = torch.randn(paths, generator=generator).double()
        z = z.mul_(correlation).add_(torch.sqrt(1 - correlation * correlation) * fresh) if correlated else fresh


class _Window:
    """The mean over a window of squares, whose length may be fractional and grows by at most 1 per step.

    Values that leave the window are not stored, but drawn again from the same seed.
    """

    def __init__(self, redraw: Callable[[], Iterator[Tensor]], shape: torch.Size) -> None:
        self.leaving = (g * g for g in redraw())
        self.left = torch.zeros(shape, dtype=torch.float64)  # the last one that did
        self.sum = torch.zeros(shape, dtype=torch.float64)  # of the last `whole` squares
        self.whole = 0

    def add(self, square: Tensor, length: float) -> None:
        self.sum += square
        self.whole += 1
        while self.whole > length + 1e-9:  # rho_1 = 1 but for rounding
            self.left = next(self.leaving)
            self.sum -= self.left
            self.whole -= 1

    def mean(self, length: float) -> Tensor:
        return (self.sum + max(0.0, length - self.whole) * self.left) / length


def moments(x: Tensor, finite: bool) -> Tensor:
    """Mean, variance and the variance's standard error over the last dimension."""
    n = x.shape[-1]
    mean = x.mean(-1, keepdim=True)
    squares = (x - mean).square_()
    variance = squares.sum(-1) / (n - 1)
    if finite:
        fourth = squares.square_().mean(-1)
        error = torch.sqrt((fourth - variance * variance).clamp_(min=0) / n)
    else:
        error = torch.full_like(variance, math.inf)
    return torch.stack([mean.squeeze(-1), variance, error])
