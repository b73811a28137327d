"""Launching the Triton kernel: tables of addresses that are made once, and which tensors it takes."""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from .._torch import TensorList
from ..states.eight_bit import LANE
from ..states.low_precision import Rounding
from ..step.capturable import DeviceNumbers
from ..step.kernels import BucketKernel, Tensors, is_dense, same_layout
from ..step.update import Numbers
from .table_format import ALIGNMENT, BLOCK, COLUMNS, WARPS

_DEVICES = ("cuda",)
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@cache
def has_triton() -> bool:
    """Whether triton is installed. torch's CUDA builds bring it; it is imported at the first launch."""
    return find_spec("triton") is not None


def why_not_triton(param: Tensor, grad: Tensor, states: TensorList) -> str | None:
    """Why the kernel cannot step this parameter; None if it can."""
    if param.device.type not in _DEVICES or not has_triton():
        return "the Triton kernel needs a CUDA device, and triton"
    if any(x.device != param.device or type(x) not in (Tensor, torch.nn.Parameter) for x in (param, grad, *states)):
        return "the Triton kernel needs plain tensors on one device"
    if any(x.dtype not in _DTYPES for x in (param, grad)):
        return f"the Triton kernel needs dtypes of {', '.join(map(str, _DTYPES))}"
    if not is_dense(states[0]) or not same_layout(param, states[0]) or not same_layout(grad, states[0]):
        return "the Triton kernel needs dense tensors of one layout"
    if states[0].dtype is torch.int8 and param.shape[1:].numel() % LANE:
        return f"the Triton kernel needs rows of a multiple of {LANE} elements, if moments have 8 bits"
    return None


class TritonStep(BucketKernel):
    """A kernel that steps a bucket in one launch.

    Args:
        rounding: how parameters of 16 bits are rounded.
    """

    def __init__(self, rounding: Rounding, captured: list[Any] | None = None) -> None:
        self.__name__ = "triton"
        self.rounding = rounding
        self._captured = captured
        self._table: Table | None = None

    def for_bucket(self, captured: list[Any]) -> "TritonStep":
        """The same kernel with a table of its own, for one bucket of a plan."""
        return TritonStep(self.rounding, captured)

    def __call__(self, tensors: Tensors, grads: TensorList, n: Numbers | DeviceNumbers) -> None:
        from .kernel import adam_step  # the first import takes seconds, and needs triton

        if self._table is None:
            self._table = Table(tensors)
        table, chunks = self._table.at(grads)
        if not len(chunks):
            return
        if self._captured is not None and table.is_cuda and torch.cuda.is_current_stream_capturing():
            self._captured.append((table, chunks, self._table.rows))
        host, device, found_inf = _numbers(n)
        seed = _seed() if self.rounding == "stochastic" else 0
        device_of = tensors.params[0].device
        with torch.cuda.device(device_of if device_of.type == "cuda" else -1):
            adam_step[(len(chunks),)](
                table,
                chunks,
                device,
                n.grad_scale,
                found_inf,
                *host,
                seed,
                *_kinds(tensors, grads),
                amsgrad=bool(tensors.v_max),
                kahan=bool(tensors.compensation),
                stochastic=self.rounding == "stochastic",
                block=BLOCK,
                num_warps=WARPS,
                enable_fp_fusion=True,  # said, since its default depends on the version
            )


@cache
def triton_step(rounding: Rounding) -> TritonStep:
    """One object per rounding, so that parameters with the same one step together."""
    return TritonStep(rounding)


class Table:
    """The addresses of a bucket's tensors, on their device.

    A plan is remade when a parameter or a state moves, so that only gradients may have other addresses in the next
    step. A new table is written then: a CUDA graph may have captured the old one, and its copy from the host.
    """

    def __init__(self, tensors: Tensors) -> None:
        device = tensors.params[0].device
        counts = list(map(Tensor.numel, tensors.params))
        blocks = [-(-count // BLOCK) for count in counts]
        self._pinned = device.type == "cuda"
        self.rows = torch.zeros(len(counts), len(COLUMNS), dtype=torch.int64, pin_memory=self._pinned)
        params, m, v, v_max, compensation, m_codes, v_codes, *scales = tensors
        for i, column in enumerate((params, None, m or m_codes, v or v_codes, v_max, compensation, *scales)):
            if column:
                self.rows[:, i] = torch.tensor(list(map(Tensor.data_ptr, column)))
        self.rows[:, COLUMNS.index("size")] = torch.tensor(counts)
        pairs = torch.tensor([(i, j) for i, count in enumerate(blocks) for j in range(count)], dtype=torch.int32)
        self._chunks = pairs.reshape(-1, 2).to(device)
        self._grads: list[int] = []
        self._table = torch.empty(0)
        self._spare: Tensor | None = self._other_rows()  # in advance: a capture should not allocate memory of the host

    def _other_rows(self) -> Tensor:
        return self.rows.clone().pin_memory() if self._pinned else self.rows.clone()

    def at(self, grads: TensorList) -> tuple[Tensor, Tensor]:
        """The table with the gradients' addresses, and the chunks.

        Raises:
            RuntimeError: the gradients have several dtypes, as after a change of one in the middle of a run.
        """
        addresses = list(map(Tensor.data_ptr, grads))
        if addresses != self._grads:
            if len(kinds := {g.dtype for g in grads}) > 1:
                raise RuntimeError(
                    f"gradients that step together are {' and '.join(sorted(map(str, kinds)))}: a gradient's dtype has "
                    "changed. Give all of them one dtype"
                )
            self.rows, self._spare = self._other_rows() if self._spare is None else self._spare, None
            self._grads = addresses
            self.rows[:, COLUMNS.index("grads")] = torch.tensor(addresses)
            is_aligned = self.rows[:, COLUMNS.index("is_aligned")]
            is_aligned.copy_((self.rows[:, : COLUMNS.index("size")] % ALIGNMENT == 0).all(1))
            self._table = self.rows.to(self._chunks.device, non_blocking=True)
            if not (self._pinned and torch.cuda.is_current_stream_capturing()):
                self._spare = self._other_rows()  # after a capture, whose graph reads these rows, at the next call
        return self._table, self._chunks


def _numbers(n: Numbers | DeviceNumbers) -> tuple[Sequence[float], Tensor | None, Tensor | None]:
    """The kernel's scalar arguments, or zeros and a tensor with their values; and found_inf."""
    if isinstance(n, Numbers):
        gain1 = (1 - n.beta1) * n.m_moves
        sign = -1.0 if n.maximize else 1.0
        eps = n.eps or torch.finfo(torch.float32).tiny  # m and v of 0: no 0/0
        return (n.scale, n.momentum, gain1, 1 - n.beta2, eps, n.l2, 1 - n.decay, sign, n.t), None, None
    eps = max(n.eps, torch.finfo(torch.float32).tiny)
    values: list[Any] = [
        n.scale,
        0.0 if n.momentum is None else n.momentum,
        n.m_moves * (1 - n.beta1),
        n.go * (1 - n.beta2),
        eps if n.root_c2 is None else eps * n.root_c2,
        n.l2,
        1.0 if n.decay is None else 1 - n.decay,
        -1.0 if n.maximize else 1.0,
        n.t,
    ]
    like = n.scale
    on_device = [x.reshape(()).to(like) if isinstance(x, Tensor) else like.new_full((), x) for x in values]
    return (0.0,) * 8 + (0,), torch.stack(on_device).float(), n.found_inf


def _kinds(tensors: Tensors, grads: TensorList) -> tuple[Any, ...]:
    """The dtypes of parameters, gradients and moments in triton's words, and whether moments are codes."""
    coded = bool(tensors.m_codes)
    state = torch.float32 if coded else tensors.m[0].dtype
    return *map(_kind, (tensors.params[0].dtype, grads[0].dtype, state)), coded


@cache
def _kind(dtype: torch.dtype) -> Any:
    import triton.language as tl

    return {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}[dtype]


def _seed() -> int:
    """A seed from torch's global generator, as that of other roundings."""
    return int(torch.randint(2**31 - 1, ()))
