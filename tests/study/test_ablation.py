"""The paper's first-four-steps arms, against steps written out by the textbook."""

import math

import pytest
import torch

from rectified.study.config.methods import parse

LR, BETA1, BETA2, EPS = 0.1, 0.9, 0.999, 1e-8


def rectification(t):
    """r_t of the paper's Algorithm 2, or None where rho_t is at most 4."""
    inf = 2 / (1 - BETA2) - 1
    rho = inf - 2 * t * BETA2**t / (1 - BETA2**t)
    if rho <= 4:
        return None
    return math.sqrt((rho - 4) * (rho - 2) * inf / ((inf - 4) * (inf - 2) * rho))


def hold(t):
    return rectification(t) or "nothing"


def adam(t):
    return 1.0 if t <= 4 else rectification(t)


def momentum_adam(t):
    if t <= 4:
        return "momentum"
    return 1.0 if t <= 8 else rectification(t)


@pytest.mark.parametrize(
    ("name", "arm"), [("radam-4hold", hold), ("radam-4adam", adam), ("radam-4momentum-4adam", momentum_adam)]
)
def test_an_arm_takes_the_steps_that_it_says(name, arm):
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(14, 5, generator=generator, dtype=torch.float64)
    p = torch.nn.Parameter(torch.zeros(5, dtype=torch.float64))
    optimizer = parse(name).build([p], lr=LR)
    expected, m, v = torch.zeros(5, dtype=torch.float64), 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        m = BETA1 * m + (1 - BETA1) * g
        v = BETA2 * v + (1 - BETA2) * g * g
        m_hat, what = m / (1 - BETA1**t), arm(t)
        if what == "momentum":
            expected = expected - LR * m_hat
        elif what != "nothing":
            expected = expected - LR * what * m_hat * math.sqrt(1 - BETA2**t) / (v.sqrt() + EPS)
        p.grad = g.clone()
        optimizer.step()
        torch.testing.assert_close(p.detach(), expected, rtol=1e-11, atol=1e-13)
