"""A run begun with another RAdam that goes on with ours: what the tests of optim.convert share."""

import math

import torch

import rectified
from saves import through_a_file
from trajectories import SHAPES, Race, always, numbers, parameters, train


class AuthorsRAdam(torch.optim.Optimizer):
    """The rule and the state of the authors' radam.py; it computes in `dtype`, they in float32."""

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        degenerated_to_sgd=False,
        dtype=torch.float32,
        buffered=True,
    ):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        self.degenerated_to_sgd, self.dtype = degenerated_to_sgd, dtype
        if buffered:
            for group in self.param_groups:
                group["buffer"] = [[None, None, None] for _ in range(10)]

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (beta1, beta2), lr = group["betas"], group["lr"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state, g, theta = self.state[p], p.grad.to(self.dtype), p.to(self.dtype)
                if not state:
                    state.update(step=0, exp_avg=torch.zeros_like(theta), exp_avg_sq=torch.zeros_like(theta))
                m, v = (state[name].to(self.dtype) for name in ("exp_avg", "exp_avg_sq"))
                t = state["step"] + 1
                m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
                state.update(step=t, exp_avg=m, exp_avg_sq=v)
                rho, size = self._rectified(t, beta1, beta2)
                if "buffer" in group:
                    group["buffer"][t % 10][:] = [t, rho, size]
                if size > 0:
                    update = m / (v.sqrt() + group["eps"]) if rho >= 5 else m
                    p.copy_(theta - lr * group["weight_decay"] * theta - lr * size * update)

    def _rectified(self, t, beta1, beta2):
        """rho_t, and what the learning rate is multiplied by: -1 where nothing moves."""
        rho_inf, power = 2 / (1 - beta2) - 1, beta2**t
        rho = rho_inf - 2 * t * power / (1 - power)
        if rho >= 5:
            r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            return rho, r * math.sqrt(1 - power) / (1 - beta1**t)
        return rho, 1 / (1 - beta1**t) if self.degenerated_to_sgd else -1


# eps is of the size of sqrt(v), so that it matters where it is added; the second group begins later than the first.
OPTIONS = {"betas": (0.9, 0.999), "eps": 0.1}
SECOND = {"lr": 0.03, "eps": 0.01}
STEPS = 25


def start(make, dtype=torch.float64, shapes=SHAPES):
    """The optimizer, and its parameters in two groups."""
    params = parameters(dtype, shapes)
    return make([{"params": params[:3]}, {"params": params[3:], **SECOND}], lr=0.01, **OPTIONS), params


def from_a_file(optimizer):
    """The state dict, through a file from which nothing but plain values is read."""
    return through_a_file(optimizer.state_dict())


def gone_on(optimizer, params, converted, kind=rectified.RAdam, **options):
    """Ours, with all options but the parameters from the save, and copies of the parameters."""
    fresh = [torch.nn.Parameter(p.detach().clone()) for p in params]
    ours = kind([{"params": fresh[:3]}, {"params": fresh[3:]}], **options)
    ours.load_state_dict(converted(from_a_file(optimizer)))
    return ours, fresh


def both_go_on(theirs, params, ours, fresh, steps, present=always, relative=1e-9, rounding=2.0**-53):
    """The same gradients and the same schedule of the lr on both sides: the paths must be the same."""
    race = Race([numbers(p) for p in params], relative, rounding)
    for step in steps:
        for optimizer in (theirs, ours):
            for group, lr in zip(optimizer.param_groups, (0.01, 0.03), strict=True):
                group["lr"] = lr / (1 + step / 10)
        train(theirs, params, [step], present)
        train(ours, fresh, [step], present)
        race.check([numbers(p) for p in fresh], [numbers(p) for p in params])
