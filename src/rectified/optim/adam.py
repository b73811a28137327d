"""Adam with a warmup as an option, on which AdamW and RAdam are built."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..warmup import Rectified, Warmup
from ._torch import TensorList
from .base import BaseOptimizer, Work
from .gpu.launch import triton_step, why_not_triton
from .observe.slopes import LastStep, refuse_flattened
from .states.create import following
from .states.dtensor import is_sharded, shards_alike
from .states.eight_bit import codes_of, encode, in_eight_bit, is_coded, shape_of_scales, to_codes, to_floats
from .states.low_precision import EIGHT_BIT, NARROW, Rounding, StateDtype
from .step.capturable import Row, capturable_step, foreach_on_device, fused_on_device
from .step.chunking import in_parts
from .step.differentiable import differentiable_step
from .step.kernels import Kernel, Tensors, alike, foreach, fused, same_layout, why_not_fused
from .step.options import Group, check_rounding, options_from, value_of
from .step.plan import Found
from .step.update import Coefficients, Numbers, coefficients, correction, numbers, omega_of
from .step.warn import sample_narrow, warn_of_huge_start, warn_of_vanishing


class Adam(BaseOptimizer):
    r"""Adam with a built-in warmup, on torch's fused kernel.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta_t &= \theta_{t-1} - \gamma\,\omega(t; \beta_2)\,
            \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Arguments, defaults and the saved state are those of torch.optim.Adam; the last four arguments are new.
    Each parameter has its own t: the number of steps in which it had a gradient.

    A warmup here multiplies the lr that a scheduler sets, and neither needs to know about the other: use
    ``warmup=Linear(500)`` here together with torch's CosineAnnealingLR over the entire run.

    Args:
        params: parameters, named parameters, or dicts of parameter groups. As in torch, every option can be set per
            group except `differentiable`, which holds for all groups.
        lr: learning rate gamma; a number or a one-element tensor, at least 0.
        betas: decay rates of the first and the second moment, each in [0, 1); numbers or one-element tensors.
        eps: added to the denominator, at least 0.
        weight_decay: lambda; added to the gradient as lambda theta (L2), or decoupled, see below.
        amsgrad: divide by the largest v so far.
        maximize: maximize the objective instead of minimizing it.
        capturable: count steps on the device and never synchronize with the host, as CUDA graphs require. lr may then
            be a tensor that a scheduler changes between replays; betas are captured as numbers. Also works on a CPU.
            ``group["omega"]`` is then a tensor, and omega is evaluated in advance, see :mod:`rectified.warmup`. A
            tensor beta is read when it changes, which a graph cannot capture.
        differentiable: let autograd record the step, in parameters, gradients, and an lr, betas or weight decay that
            are tensors; omega is computed from beta2's value. Rounding must be to nearest.
        foreach, fused: ``None`` uses torch's fused op, with copies of tensors that it cannot take, and foreach ops for
            tensor subclasses and devices that it does not support; ``foreach=True`` or ``fused=False`` always uses
            foreach ops. ``fused=True`` on an NVIDIA GPU with triton (``pip install 'rectified[gpu]'``) steps parameters
            of 16 bits and moments of 8 bits with a kernel of this package, in one launch and without copies.
        decoupled_weight_decay: ``theta *= 1 - lr * weight_decay`` instead, at every step that may move theta; omega
            does not scale it.
        warmup: the factor omega(t; beta2), such as ``Linear(500)`` or ``UntunedLinear()``, see
            :mod:`rectified.warmup`; ``None`` is plain Adam.
        eps_hat: add eps to sqrt(v) before its bias correction (as torch's RAdam and Adam-eps do) instead of after.
        state_dtype: the dtype of the moments of bfloat16 and float16 parameters, in which their step is also computed.
            In the parameter's own dtype v stalls, as in torch, but takes 4 bytes less per parameter (6 with amsgrad).
            Wider parameters have moments of their own dtype. ``"8bit"``: both moments take 2.06 bytes per parameter,
            for float32 too, in parameters of at least two dimensions and 4,096 elements; others have float32 moments.
            The step is computed in float32. See docs/eight-bit.md.
        rounding: how bfloat16 and float16 parameters are rounded after a step in float32: ``"nearest"``; ``"kahan"``,
            which keeps the rounding error in the state, in 2 bytes per parameter; or ``"stochastic"`` (bfloat16),
            which is unbiased and draws from torch's global generator.

    Raises:
        TypeError: an option is not a number where one is required, or the warmup has no omega.
        ValueError: an option is out of range, or the warmup never starts at this beta2.
        RuntimeError: two flags are incompatible; from ``step``, for sparse gradients, and if a CUDA graph is captured
            without ``capturable``.

    During training, ``group["omega"]`` holds the last factor, and :func:`rectified.explain` shows all details.

    >>> import torch
    >>> from rectified.warmup import UntunedLinear
    >>> p = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    >>> optimizer = Adam([p], lr=0.1, warmup=UntunedLinear())
    >>> p.grad = torch.tensor([0.5, 2.0])
    >>> optimizer.step()
    >>> p.data, round(optimizer.param_groups[0]["omega"], 6)
    (tensor([ 0.9999, -1.0000]), 0.0005)

    Reference: arXiv:1412.6980; for the warmups see :mod:`rectified.warmup`.
    """

    OBSERVABLE = True
    _sampled = False  # whether 16-bit parameters have been looked at, see warn.sample_narrow
    STATES = (  # torch's names, in the order of Tensors
        "exp_avg",
        "exp_avg_sq",
        "max_exp_avg_sq",
        "compensation",
        "exp_avg_codes",
        "exp_avg_sq_codes",
        "exp_avg_scale",
        "exp_avg_sq_scale",
    )
    DEPENDS_ON = (*BaseOptimizer.DEPENDS_ON, "amsgrad", "state_dtype", "rounding")

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Tensor = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        warmup: Warmup | None = None,
        eps_hat: bool = False,
        state_dtype: StateDtype = torch.float32,
        rounding: Rounding = "nearest",
    ) -> None:
        super().__init__(params, options_from(locals()))

    def take(self, work: list[Work]) -> None:
        """Take the planned steps: compute the numbers of every bucket first, which may raise, then run the kernels."""
        self._refuse_capture()
        grad_scale, found_inf = self._from_scaler()
        numbered = [self._numbers(group, found, grad_scale) for group, _, found in work]
        warn_of_huge_start(self, numbered)
        # Most optimizers have been looked at, and a small model's step is as long as a few such calls.
        samples = [] if self._sampled else sample_narrow(self, zip((w[0] for w in work), numbered, strict=True))
        for (group, plan, found), pairs in zip(work, numbered, strict=True):
            if group["capturable"]:
                capturable_step(group, self.warmup(group), plan, found, self.state, grad_scale, found_inf)
                continue
            for here, n in pairs:
                if group["differentiable"]:
                    differentiable_step(here, self.state, self.STATES, n)
                else:
                    here.bucket.kernel(Tensors(here.params, *here.states), here.grads, n)
            plan.advance()
            if pairs:
                group["omega"] = pairs[0][1].omega  # for the parameters with the most steps
        if samples:
            warn_of_vanishing(self, samples)

    def last_step(self, group: Group, here: Found) -> LastStep:
        beta1, beta2 = map(value_of, group["betas"])
        t, warmup = here.bucket.t, group["warmup"]
        root_c2 = correction(beta2, t) ** 0.5
        m, v, v_max, _, m_codes, v_codes, m_scale, v_scale = here.states
        return LastStep(
            owners=here.owners,
            grads=here.grads,
            m=m or m_codes,
            v=torch._foreach_maximum(v_max, v) if v_max else v or v_codes,  # a new v_max is 0
            scales=(v_scale, m_scale) if m_scale else (),
            c1=correction(beta1, max(1, t - getattr(warmup, "m_delay", 0))),
            root_c2=root_c2,
            eps=group["eps"] if group["eps_hat"] else group["eps"] * root_c2,
            maximize=group["maximize"],
            grad_scale=self._from_scaler()[0],
            l2=0.0 if group["decoupled_weight_decay"] else value_of(group["weight_decay"]),
        )

    def _numbers(self, group: Group, found: list[Found], grad_scale: Tensor | None) -> list[tuple[Found, Numbers]]:
        """Each bucket of a group with the numbers of its step; empty for a group that is counted on the device."""
        if group["capturable"]:
            return []
        warmup, pairs = self.warmup(group), []
        for here in found:
            # There may be parameters on several devices.
            scale = grad_scale if grad_scale is None else grad_scale.to(here.params[0].device)
            pairs.append((here, numbers(group, warmup, here.t, scale)))
        return pairs

    def kernel(self, group: Group, theta: Tensor, grad: Tensor, states: TensorList, reasons: set[str]) -> Kernel:
        codes = next((x for x in states if x.dtype is torch.int8), None)
        moments = states[: 2 + bool(group["amsgrad"])] if codes is None else [codes]
        rounding = group["rounding"] if theta.dtype in NARROW and moments[0].dtype is not theta.dtype else "nearest"
        if group["fused"] and (codes is not None or theta.dtype in NARROW):
            if (reason := why_not_triton(theta, grad, moments)) is None:
                return triton_step(rounding)
            if theta.is_cuda:
                reasons.add(reason)
        on_device = group["capturable"]
        kernel: Kernel = foreach_on_device if on_device else foreach
        warmup = self.warmup(group)
        delayed = on_device and warmup is not None and warmup.m_delay > 0
        if not (delayed or group["foreach"] or group["fused"] is False or group["differentiable"]):
            if codes is not None:
                moments = [theta.new_empty(0, dtype=torch.float32)]
            if (reason := why_not_fused(theta, grad, moments)) is None:
                kernel = fused_on_device if on_device else fused
            else:
                reasons.add(reason)
        if codes is not None:
            suits = [x.dtype is torch.float32 and same_layout(x, codes) for x in (theta, grad)]
            return in_eight_bit(kernel, not suits[0], not suits[1], rounding)
        copied = not alike(theta, states[0]), not alike(grad, states[0])
        if kernel in (foreach, foreach_on_device) or any(copied) or theta.is_complex():
            kernel = in_parts(kernel, *copied, rounding)
        return kernel

    def check(self, group: Group) -> None:
        super().check(group)
        check_rounding(group)
        for name in ("variance", "threshold", "start"):
            if name in group and "warmup" in group:
                raise ValueError(
                    f"a group's {name} is part of its warmup: write warmup=Rectified({name}={group[name]!r})"
                )

    def adopt(self, options: Group) -> Group:
        rectifier = {name: options.pop(name) for name in ("variance", "threshold", "start") if name in options}
        if rectifier and "warmup" not in options:  # a save of RAdam's
            options["warmup"] = Rectified(**rectifier)
        return super().adopt(options)

    def has_momentum_step(self, group: Group, t: int) -> bool:
        beta1, beta2 = map(float, group["betas"])
        return bool(coefficients(self.warmup(group), (beta1, beta2), t, 0.0).momentum)

    def state_names(self, p: Tensor, group: Group) -> list[str]:
        m, v, v_max, compensation, *coded = self.STATES
        kahan = [compensation] if group["rounding"] == "kahan" and p.dtype in NARROW else []
        if group["state_dtype"] == EIGHT_BIT and is_coded(p):
            return kahan + coded
        return [m, v, *([v_max] if group["amsgrad"] else []), *kahan]

    def make_states(self, p: Tensor, group: Group, entry: dict[str, Any]) -> None:
        if "exp_avg_scale" not in self.state_names(p, group):
            to_floats(entry)
            super().make_states(p, group, entry)
            return
        to_codes(p, entry)
        if "compensation" in self.state_names(p, group):
            entry["compensation"] = following(p, entry.get("compensation"), p.dtype)

    @torch.no_grad()
    def _restart(self, p: Tensor, group: Group) -> None:
        super()._restart(p, group)
        new = self.new_state(p, group) if p.grad is not None else {}
        for name, x in new.items():
            if codes_of(name) in self.state[p]:
                encode(x, self.state[p], name)

    def state_shape(self, p: Tensor, name: str) -> torch.Size:
        return shape_of_scales(p) if name.endswith("_scale") and p.ndim > 1 else p.shape

    def state_dtype(self, p: Tensor, group: Group, name: str) -> torch.dtype:
        dtype: torch.dtype = torch.float32 if group["state_dtype"] == EIGHT_BIT else group["state_dtype"]
        return dtype if p.dtype in NARROW and name != "compensation" else p.dtype

    def required_states(self) -> tuple[str, ...]:
        return ("step", "exp_avg", "exp_avg_sq")

    def refuse(self, p: Tensor, entry: Mapping[str, Any], group: Group, whose: str) -> None:
        if p.dtype in NARROW and group["state_dtype"] not in (torch.float32, p.dtype, EIGHT_BIT):
            raise RuntimeError(
                f"{whose} is {p.dtype} and state_dtype is {group['state_dtype']}; it must be torch.float32 or {p.dtype}"
            )
        if p.dtype is torch.float16 and group["rounding"] == "stochastic":
            raise RuntimeError(
                f"{whose} is torch.float16; rounding='stochastic' is for torch.bfloat16 only, 'kahan' works for both"
            )
        if group["state_dtype"] == EIGHT_BIT and p.grad is not None and is_sharded(p) and not shards_alike(p, [p.grad]):
            raise RuntimeError(
                f"{whose} is sharded in another way than its gradient, which moments of 8 bits do not support: "
                "redistribute the gradient first, or use state_dtype=torch.float32"
            )
        if "slopes" in getattr(group.get("warmup"), "observes", ()):
            refuse_flattened(p, whose)
        super().refuse(p, entry, group, whose)

    def row(self, group: Group) -> Row:
        return adam_row

    # GradScaler and CUDA graphs.

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether a GradScaler passes its scale and found_inf to the step instead of unscaling gradients itself.

        As in torch, only on request (``fused=True``, or ``capturable``): Lightning does not clip gradients of such an
        optimizer, and Accelerate cannot detect a skipped step, so it advances the lr scheduler.
        """
        return all(group["fused"] or group["capturable"] for group in self.param_groups)

    def _from_scaler(self) -> tuple[Tensor | None, Tensor | None]:
        """The scale and found_inf of a GradScaler that leaves the unscaling to this step."""
        given = self.__dict__
        found_inf = given.get("found_inf")  # the number 0 if the scaler saw no gradient
        return given.get("grad_scale"), found_inf if isinstance(found_inf, Tensor) else None

    def skips(self) -> bool:
        """Whether a GradScaler found an infinite gradient, so that neither parameters nor counts change."""
        if "found_inf" not in self.__dict__:
            return False
        _, found_inf = self._from_scaler()
        if found_inf is None or all(group["capturable"] for group in self.param_groups):
            return False  # with capturable, the device skips the step
        return bool(found_inf.item())

    def _refuse_capture(self) -> None:
        """Raise if a CUDA graph captures a step that is counted on the host, since replays would repeat its count."""
        capturing = torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()  # type: ignore[no-untyped-call]
        if capturing and not all(group["capturable"] for group in self.param_groups):
            raise RuntimeError(
                f"Attempting CUDA graph capture of step() for an instance of {type(self).__name__} but param_groups' "
                "capturable is False. Every replay would repeat this step's count: set capturable=True"
            )


def adam_row(warmup: Warmup | None, beta2: float, t: int) -> Coefficients:
    """The row that :mod:`.step.capturable` tabulates for each count: the coefficients without beta1's correction."""
    return coefficients(warmup, (0.0, beta2), t, omega_of(warmup, t, beta2))
