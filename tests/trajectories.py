"""Parameters, gradients that anyone can draw again, and how closely two float64 trajectories must agree."""

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

# A matrix, a vector, a scalar, nothing, a kernel: what models are made of.
SHAPES = ((3, 4), (5,), (), (0,), (2, 3, 1, 2))


def parameters(dtype=torch.float64, shapes=SHAPES, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(s, generator=generator, dtype=torch.float64).to(dtype)) for s in shapes]


def gradient(p, i, step, scale=1.0):
    """The gradient of parameter i at this step, the same for whoever asks."""
    generator = torch.Generator().manual_seed(100 * step + i + 1)
    real = [scale * torch.randn(p.shape, generator=generator, dtype=torch.float64) for _ in range(1 + p.is_complex())]
    return (torch.complex(*real) if p.is_complex() else real[0]).to(p.dtype)


def always(i, step):
    return True


def comes_and_goes(i, step):
    """Parameter 0 misses steps in its start, parameter 1 begins late, 2 pauses for long, 3 and 4 always step."""
    return not (i == 0 and step in (2, 3, 9)) and not (i == 1 and step < 5) and not (i == 2 and 3 <= step <= 10)


def set_gradients(params, step, present=always, scale=1.0):
    for i, p in enumerate(params):
        p.grad = gradient(p, i, step, scale) if present(i, step) else None


def train(optimizer, params, steps, present=always, scale=1.0):
    """Take the steps numbered ``steps``."""
    for step in steps:
        set_gradients(params, step, present, scale)
        optimizer.step()


def closure(optimizer, p, calls):
    """One that puts down the loss p^2 with its gradients, and notes whether gradients were on."""

    def evaluate():
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return loss

    return evaluate


def numbers(x):
    """As a float64 array of reals; None stays None."""
    if x is None:
        return None
    x = x.detach()
    return np.array((torch.view_as_real(x) if x.is_complex() else x).double().numpy())


class Race:
    """Holds ours to the judge's trajectory, element by element, after every step.

    What "1e-11 relative" means: relative to the path, the sum of the distances that this very element has moved. That
    is stricter than relative to the parameter's norm wherever steps are small (a start with gradients of 1e-7 moves a
    weight of 1 by 1e-10), and so strict that rounding itself must be allowed for: half a unit in the last place for
    each write, of which a step has up to three on either side. That is of the weight's size, and of the largest step
    that any element of the tensor took: where m cancels the step is next to nothing, m's rounding is not.
    """

    def __init__(self, start, relative=1e-11, rounding=2.0**-53):
        self.relative, self.rounding = relative, rounding
        self.last = [np.array(x) for x in start]
        self.path = [np.zeros_like(x) for x in self.last]
        self.size = [np.abs(x) for x in self.last]
        self.largest_step = [0.0 for _ in self.last]
        self.steps = 0

    def join(self, start):
        """More parameters, from now on."""
        late = Race(start)
        self.last, self.path, self.size = self.last + late.last, self.path + late.path, self.size + late.size
        self.largest_step += late.largest_step

    def check(self, ours, theirs):
        self.steps += 1
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert np.isfinite(b).all(), f"the judge's parameter {i} is not finite after {self.steps} steps"
            moved = np.abs(b - self.last[i])
            self.path[i] += moved
            self.largest_step[i] = max(self.largest_step[i], moved.max(initial=0.0))
            self.size[i] = np.maximum(self.size[i], np.abs(b))
            self.last[i] = np.array(b)
            rounded = 3 * self.steps * self.rounding * (self.size[i] + self.largest_step[i])
            allowed = self.relative * self.path[i] + rounded
            off = np.abs(a - b)
            if not (off <= allowed).all():
                worst = np.unravel_index(np.argmax(off / (allowed + 1e-300)), off.shape)
                raise AssertionError(
                    f"parameter {i} after {self.steps} steps: element {tuple(map(int, worst))} is {a[worst]}, not "
                    f"{b[worst]}: off by {off[worst]:.3g}, allowed {allowed[worst]:.3g}"
                )


def race(optimizer, params, twins, steps, present=always, scale=1.0, so_far=None):
    """Step the optimizer and its textbook twins on the same gradients; trajectories and states must agree."""
    so_far = so_far or Race([twin.theta for twin in twins])
    for step in steps:
        set_gradients(params, step, present, scale)
        for p, twin in zip(params, twins, strict=True):
            twin.step(numbers(p.grad))
        optimizer.step()
        so_far.check([numbers(p) for p in params], [twin.theta for twin in twins])
    for p, twin in zip(params, twins, strict=True):
        entry = optimizer.state.get(p, {})
        assert entry.get("step", 0) == twin.t
        for key, value in (("exp_avg", twin.m), ("exp_avg_sq", twin.v), ("max_exp_avg_sq", twin.v_max)):
            if key in entry:
                np.testing.assert_allclose(numbers(entry[key]), value, rtol=1e-12, atol=1e-15 * scale)
    return so_far


class FusedCalls(TorchDispatchMode):
    """Counts calls of torch's fused op."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket in (torch.ops.aten._fused_adam_, torch.ops.aten._fused_adamw_)
        return func(*args, **(kwargs or {}))
