"""Runs whose warmup observes them: GuardedLinear's twin in numpy, gradients that overshoot, and how to train."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

import rectified
from rectified import Adam, rectify
from rectified.warmup import GuardedLinear, Warmup

STEPS, LR = 15, 3.0


class Twin:
    """Adam on several parameters with GuardedLinear, from the equations, in float64."""

    def __init__(
        self,
        thetas,
        lr,
        steps,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        decoupled=False,
        maximize=False,
        **flags,
    ):
        self.thetas = [np.array(theta, np.float64) for theta in thetas]
        self.lrs = lr if isinstance(lr, list) else [lr] * len(thetas)
        self.steps, self.betas, self.eps, self.weight_decay = steps, betas, eps, weight_decay
        self.decoupled, self.maximize = decoupled, maximize
        self.amsgrad, self.eps_hat = flags.get("amsgrad", False), flags.get("eps_hat", False)
        self.m, self.v, self.v_max = ([np.zeros_like(theta) for theta in self.thetas] for _ in range(3))
        self.t, self.omega, self.before, self.after = 0, 1 / steps, 0.0, 0.0

    def direction(self, i):
        root, debias = np.sqrt(self.v_max[i] if self.amsgrad else self.v[i]), math.sqrt(1 - self.betas[1] ** self.t)
        denominator = (root + self.eps) / debias if self.eps_hat else root / debias + self.eps
        m_hat = self.m[i] / (1 - self.betas[0] ** self.t)
        return m_hat, m_hat / denominator

    def step(self, grads):
        sign = -1 if self.maximize else 1
        grads = [sign * np.asarray(g, np.float64) for g in grads]
        t = self.t + 1
        if self.t and self.omega < 1 and t % 2 == 0 and t <= 2 * self.steps:
            before = after = 0.0
            for i, g in enumerate(grads):
                m_hat, d = self.direction(i)
                weight = self.lrs[i] / max(self.lrs)
                if not self.decoupled:  # decay is part of the function that is minimized
                    g = g + self.weight_decay * self.thetas[i]
                before, after = before + weight * (m_hat * d).sum(), after + weight * (g * d).sum()
            self.before, self.after = (self.before + before) / 2, (self.after + after) / 2
        if self.t and self.omega < 1:
            ratio = self.after / self.before
            if ratio >= -0.15 or t > 2 * self.steps:
                self.omega = min(1, self.omega + 1 / self.steps)
            else:
                self.omega *= math.exp(max(-0.5, 0.15 * (ratio + 0.15)))
        self.t += 1
        for i, g in enumerate(grads):
            if self.decoupled:
                self.thetas[i] = self.thetas[i] * (1 - self.lrs[i] * self.weight_decay)
            else:
                g = g + self.weight_decay * self.thetas[i]
            self.m[i] = self.betas[0] * self.m[i] + (1 - self.betas[0]) * g
            self.v[i] = self.betas[1] * self.v[i] + (1 - self.betas[1]) * g * g
            self.v_max[i] = np.maximum(self.v_max[i], self.v[i])
            self.thetas[i] = self.thetas[i] - self.lrs[i] * self.omega * self.direction(i)[1]


def parameters(dtype=torch.float64, **options):
    torch.manual_seed(1)
    shapes = (5, 3), (4,), (), (2, 3, 2)
    return [nn.Parameter(torch.randn(shape, dtype=dtype, **options)) for shape in shapes]


SCALES = (0.5, 3.0, 40.0, 7.0)


def gradients(params, step, noise=0.3):
    """Those of a stiff quadratic, with noise: at the lr of these tests steps overshoot, and omega rises and falls."""
    generator = torch.Generator().manual_seed(step)
    return [
        scale * (p.detach() + noise * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype))
        for p, scale in zip(params, SCALES, strict=True)
    ]


def train(optimizer, params, steps, grads=gradients, scale=1.0):
    """Take steps; return omega of each."""
    omegas = []
    for step in steps:
        for p, g in zip(params, grads(params, step), strict=True):
            p.grad = g * scale
        optimizer.step()
        omegas.append(optimizer.param_groups[0]["omega"])
    return omegas


def expected(steps, lr=LR, **options):
    """The twin's omegas and parameters on the gradients of its own trajectory."""
    twin, omegas = Twin([p.detach().numpy() for p in parameters()], lr, STEPS, **options), []
    for step in range(steps):
        twin.step([g.numpy() for g in gradients([torch.tensor(theta) for theta in twin.thetas], step)])
        omegas.append(twin.omega)
    return omegas, twin.thetas


def ours(params):
    return Adam([{"params": params[:2]}, {"params": params[2:]}], lr=LR, warmup=GuardedLinear(STEPS))


def around(params):
    groups = [{"params": params[:2]}, {"params": params[2:]}]
    return rectify(torch.optim.Adam(groups, lr=LR), GuardedLinear(STEPS))


def scheduled(params):
    optimizer = torch.optim.Adam([{"params": params[:2]}, {"params": params[2:]}], lr=LR)
    optimizer.kept = rectified.WarmupLR(optimizer, GuardedLinear(STEPS))
    return optimizer


@dataclass(frozen=True)
class Gap(Warmup):
    """omega from the loss: 1 once it is half the first."""

    observes = ("loss",)

    def omega(self, t, beta2):
        return 1.0

    def observe(self, memory, feedback):
        first = memory[1] if memory else feedback.loss
        return min(1.0, first / 2 / feedback.loss), first


def ones(params, step):
    return [torch.ones_like(p) for p in params]
