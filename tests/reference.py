"""Textbook twins: every omega and one Adam, in plain float64, written from the papers and never from our code.

The package does not import this file, and this file does not import the package. Wherever the paper's own formula
cancels in float64, mpmath evaluates it with forty digits, so a twin is slow, obvious and right.
"""

import math
from functools import cache

import mpmath
import numpy as np

DIGITS = 40


def rho_inf(beta2):
    with mpmath.workdps(DIGITS):
        return 2 / (1 - mpmath.mpf(beta2)) - 1


def rho(t, beta2):
    """rho_inf - 2 t beta2^t / (1 - beta2^t), with digits to spare for what its two large terms have in common."""
    with mpmath.workdps(DIGITS + 30):
        power = mpmath.mpf(beta2) ** mpmath.mpf(t)
        return 2 / (1 - mpmath.mpf(beta2)) - 1 - 2 * t * power / (1 - power)


def variance(rho):
    """Var[sqrt(x)], x ~ Scale-inv-chi2(rho, 1): E[x] - E[sqrt(x)]^2, through gamma functions."""
    rho = mpmath.mpf(rho)
    lost = 0 if rho < 10 else 2 * int(mpmath.log10(rho))
    with mpmath.workdps(DIGITS + lost):
        return rho / (rho - 2) - rho / 2 * mpmath.gammaprod([(rho - 1) / 2], [rho / 2]) ** 2


def mean(rho):
    """E[sqrt(x)] for the same x."""
    rho = mpmath.mpf(rho)
    with mpmath.workdps(DIGITS):
        return mpmath.sqrt(rho / 2) * mpmath.gammaprod([(rho - 1) / 2], [rho / 2])


def variance_slope(rho):
    """The derivative of variance(rho), through digammas."""
    rho = mpmath.mpf(rho)
    with mpmath.workdps(DIGITS + (0 if rho < 10 else 3 * int(mpmath.log10(rho)))):
        square = mpmath.gammaprod([(rho - 1) / 2], [rho / 2]) ** 2
        logarithmic = mpmath.digamma((rho - 1) / 2) - mpmath.digamma(rho / 2)
        return -2 / (rho - 2) ** 2 - square / 2 * (1 + rho * logarithmic)


@cache
def variance_ema(t, beta2):
    """Var[1/sqrt(v_hat)] at normal gradients, by the two integrals over M(u) = prod (1 + 2 w_i u)^(-1/2)."""
    t = min(t, int(-45 / math.log(beta2)) + 1)  # beta2^t is below 1e-19 from here on
    return _variance_ema_factor_by_factor(t, beta2) if t <= 2500 else _variance_ema_late(t, beta2)


def _variance_ema_factor_by_factor(t, beta2):
    """In numpy's long double: the trapezoidal rule in log u."""
    step = np.longdouble(0.125)
    u = np.exp(step * np.arange(-100 * 8, 100 * 8))
    weights = np.longdouble(beta2) ** np.arange(t)
    log = np.zeros_like(u)
    for w in weights / weights.sum():
        log += np.log1p(2 * w * u)
    m = np.exp(-log / 2)
    second, first = (step * np.sum(m * u**power) for power in (1, np.longdouble(0.5)))
    return float(second - first**2 / np.longdouble(np.pi))


def _variance_ema_late(t, beta2):
    """In 25 digits, u = s^2: log M is a sum of a smooth function of the step, h = -log(beta2) being small.

    So it is an integral (dilogarithms) with Euler and Maclaurin's corrections.
    """
    with mpmath.workdps(25):
        h = -mpmath.log(mpmath.mpf(beta2))
        total = -mpmath.expm1(-h * t) / -mpmath.expm1(-h)
        first, last = 2 / total, 2 * mpmath.exp(-h * t) / total

        def odd(c):
            """The odd derivatives of log(1 + c e^(-h j)) in j, times Bernoulli's factors."""
            s = c / (1 + c)
            p = s * (1 - s)
            third, fifth = p * (1 - 2 * s), p * (1 - 2 * s) * (1 - 12 * p)
            return -h * s / 12 + h**3 * third / 720 - h**5 * fifth / 30240

        def m(u):
            a, b = first * u, last * u
            log = (mpmath.polylog(2, -b) - mpmath.polylog(2, -a)) / h
            log += (mpmath.log1p(a) - mpmath.log1p(b)) / 2 + odd(b) - odd(a)
            return mpmath.exp(-log / 2)

        ends = [0, 0.5, 1, 1.5, 2, 3, 5, 10, mpmath.inf]
        second = mpmath.quad(lambda s: 2 * s * m(s * s), ends)
        mean = mpmath.quad(lambda s: 2 * m(s * s), ends) / mpmath.sqrt(mpmath.pi)
        return float(mpmath.re(second - mean**2))


def constant(t, beta2):
    return 1.0


@cache
def rectified(t, beta2, threshold=5.0):
    """Algorithm 2 of the paper (which has threshold 4; torch has 5)."""
    r, r_inf = rho(t, beta2), rho_inf(beta2)
    if r <= threshold:
        return 0.0
    return float(mpmath.sqrt((r - 4) * (r - 2) * r_inf / ((r_inf - 4) * (r_inf - 2) * r)))


@cache
def rectified_exactly(t, beta2, threshold=2.0):
    r = rho(t, beta2)
    return float(mpmath.sqrt(variance(rho_inf(beta2)) / variance(r))) if r > threshold else 0.0


@cache
def rectified_by_ema(t, beta2, threshold=2.0):
    if rho(t, beta2) <= threshold:
        return 0.0
    return math.sqrt(variance_ema(10**18, beta2) / variance_ema(t, beta2))


def untuned_linear(t, beta2):
    return min(1.0, (1 - beta2) * t / 2)


def untuned_exponential(t, beta2):
    with mpmath.workdps(DIGITS):
        return float(1 - mpmath.exp(-(1 - mpmath.mpf(beta2)) * t))


def linear(t, beta2, steps):
    return min(1.0, t / steps)


def hold(t, beta2, steps):
    return 0.0 if t <= steps else 1.0


class Textbook:
    """Adam for one parameter, with omega in front and a step count of its own.

    ``start`` is what a step with omega = 0 does: ``"momentum"``, or ``"hold"``, in which theta stands still.
    ``m_delay``: in so many first steps only v moves. ``eps_hat``: eps joins sqrt(v) before the bias correction.
    """

    def __init__(
        self,
        theta,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        decoupled=False,
        maximize=False,
        amsgrad=False,
        omega=constant,
        start="hold",
        m_delay=0,
        eps_hat=False,
    ):
        self.theta = np.array(theta, dtype=np.float64)
        self.m, self.v, self.v_max = (np.zeros_like(self.theta) for _ in range(3))
        self.t = 0
        self.lr, (self.beta1, self.beta2), self.eps, self.weight_decay = float(lr), betas, eps, weight_decay
        self.decoupled, self.maximize, self.amsgrad = decoupled, maximize, amsgrad
        self.omega, self.start, self.m_delay, self.eps_hat = omega, start, m_delay, eps_hat

    def step(self, g):
        if g is None:
            return
        self.t += 1
        omega = self.omega(self.t, self.beta2)
        m_moves = self.t > self.m_delay
        theta_moves = m_moves and (omega > 0 or self.start == "momentum")
        g = -np.asarray(g, dtype=np.float64) if self.maximize else np.asarray(g, dtype=np.float64)
        if not self.decoupled:
            g = g + self.weight_decay * self.theta
        elif theta_moves:
            self.theta = self.theta - self.lr * self.weight_decay * self.theta
        self.v = self.beta2 * self.v + (1 - self.beta2) * g * g
        self.v_max = np.maximum(self.v_max, self.v)
        if m_moves:
            self.m = self.beta1 * self.m + (1 - self.beta1) * g
        if theta_moves:
            m_hat = self.m / (1 - self.beta1 ** (self.t - self.m_delay))
            self.theta = self.theta - self.lr * (omega * m_hat / self._denominator() if omega > 0 else m_hat)

    def _denominator(self):
        root, debias = np.sqrt(self.v_max if self.amsgrad else self.v), math.sqrt(1 - self.beta2**self.t)
        return (root + self.eps) / debias if self.eps_hat else root / debias + self.eps
