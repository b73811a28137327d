"""The metric of a user's task: its name, direction and margin; and the default loss."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batches import moved
from ..sources import kind

_SMALLER = ("loss", "error", "err", "ppl", "perplexity", "mse", "mae", "rmse", "nll", "bpb", "bpc", "wer", "cer", "fid")
_LARGER = (
    "accuracy",
    "acc",
    "top1",
    "top5",
    "f1",
    "auc",
    "bleu",
    "rouge",
    "iou",
    "miou",
    "map",
    "psnr",
    "r2",
    "precision",
    "recall",
)


@dataclass(frozen=True)
class Measure:
    """The metric of a task, checked and with defaults filled in.

    Attributes:
        name, label, larger_is_better, margin: see :class:`~.task.BaseTask`.
    """

    name: str
    label: str
    larger_is_better: bool
    margin: float

    @classmethod
    def of(
        cls,
        names: Iterable[str] | Callable[[], Iterable[str]],
        name: str | None,
        larger_is_better: bool | None,
        label: str | None,
        margin: float | None,
        ours: bool,
        nats: bool,
    ) -> "Measure":
        """Determine the metric, with defaults for what is None.

        Args:
            names: the names of the metrics, in order, or a function that finds them out.
            ours, nats: whether the metrics are from :meth:`over`, and whether the loss is the default.

        Raises:
            ValueError: the name is unknown, or its direction or margin cannot be inferred.
        """
        if name is None or not callable(names):
            known = list(names() if callable(names) else names)
            name = known[0] if name is None else name
            if name not in known:
                raise ValueError(f"metric is {name!r}, but valid measures {', '.join(known)}; name one of them")
        _check("metric", name)
        kind_of = name.lower().split("_")[-1]
        if larger_is_better is None:
            if kind_of not in _SMALLER + _LARGER:
                raise ValueError(
                    f"larger_is_better is missing, and cannot be inferred from {name!r}; set it to True or False"
                )
            larger_is_better = kind_of in _LARGER
        percent = ours and name == "valid_accuracy"
        if margin is None:
            if not percent and kind_of != "loss":
                raise ValueError(
                    f"margin is missing: the difference in {name} that does not matter to you; set it in the metric's "
                    "unit, such as margin=0.01"
                )
            margin = 1.0 if percent else 0.02
        unit = ", %" if percent else ", nats" if ours and nats else ""
        return cls(name, label or name.replace("_", " ") + unit, bool(larger_is_better), margin)

    def of_another_split(self, name: str | None, ours: bool) -> tuple[str, str] | None:
        """The name and label of the metric that chooses an lr, if it is not this metric.

        Args:
            ours: whether the metrics are from :meth:`over`, which measures a single split.

        Raises:
            ValueError: the name is invalid or suggests the opposite direction, or there is no other split.
        """
        if name is None or name == self.name:
            return None
        _check("choose_by", name)
        if ours:
            raise ValueError(
                f"choose_by is {name!r}, but valid is a single split; use evaluate= to measure two, such as "
                "valid_loss and test_loss"
            )
        kind_of = name.lower().split("_")[-1]
        if kind_of in (_SMALLER if self.larger_is_better else _LARGER):
            larger, smaller = (self.name, name) if self.larger_is_better else (name, self.name)
            raise ValueError(
                f"choose_by is {name!r} and metric is {self.name!r}: the larger {larger} and the smaller {smaller}, "
                "the better; name the same measure on two splits"
            )
        _, comma, unit = self.label.partition(", ")
        return name, name.replace("_", " ") + comma + unit

    @staticmethod
    def read(measured: Any, name: str | None) -> dict[str, float]:
        """Convert what a user's `evaluate` returned to floats by name; a single number is the metric of that name.

        Raises:
            ValueError: it is neither a number nor a dict of numbers by name, or it is a number without a name.
        """
        if isinstance(measured, int | float | Tensor):
            if name is None:
                raise ValueError(
                    'evaluate returned one number, and metric is missing; name it, such as metric="valid_loss"'
                )
            measured = {name: measured}
        if not isinstance(measured, Mapping):
            raise ValueError(
                f"evaluate returned {_short(measured)}; it must return a float, or a dict of floats by name"
            )
        found = {}
        for key, value in measured.items():
            try:
                number = value.item() if isinstance(value, Tensor) else float(value)
                assert isinstance(key, str)
            except (TypeError, ValueError, RuntimeError, AssertionError):
                raise ValueError(
                    f"evaluate returned {key!r}: {_short(value)}; it must return a float, or a dict of floats by name"
                ) from None
            found[key] = float(number)
        if not found:
            raise ValueError("evaluate returned an empty dict; it must return a float, or a dict of floats by name")
        return found

    @staticmethod
    def over(
        model: nn.Module,
        batches: Iterable[Any],
        loss: Callable[[nn.Module, Any], Tensor],
        weight: Callable[[Any], int],
        accuracy: bool,
    ) -> dict[str, float]:
        """Measure the mean loss, and the accuracy in percent if batches are pairs of inputs and class numbers.

        Args:
            weight: returns the number of items that a batch's loss is a mean over.
        """
        device = next(model.parameters()).device
        total, weights, right, targets = 0.0, 0, 0, 0
        for batch in batches:
            count = weight(batch)
            batch = moved(batch, device)
            if accuracy and not isinstance(batch, Mapping):
                outputs = model(batch[0])
                total += count * _cross_entropy(outputs, batch[1]).item()
                right += int((outputs.argmax(1) == batch[1]).sum())
                targets += batch[1].numel()
            else:
                total += count * loss(model, batch).item()
            weights += count
        if not weights:
            raise ValueError("valid has no examples; it must have at least one")
        found = {"valid_loss": total / weights}
        return {**found, "valid_accuracy": 100 * right / targets} if targets else found


def _check(what: str, name: Any) -> None:
    """Reject an invalid name of a metric."""
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(
            f"{what} is {name!r}; it must be a name of letters, digits and underscores, such as valid_loss"
        )
    if name in ("epoch", "step", "train_loss"):
        raise ValueError(f"{what} is {name!r}, which a study records itself; use another name, such as valid_loss")


def default_loss(model: nn.Module, batch: Any) -> Tensor:
    """The default loss: cross entropy for batches of (inputs, class numbers), the model's own loss for mappings.

    Raises:
        ValueError: the batch has another form.
    """
    if isinstance(batch, Mapping):
        outputs = model(**batch)
        found = outputs.get("loss") if isinstance(outputs, Mapping) else getattr(outputs, "loss", None)
        if not isinstance(found, Tensor):
            raise ValueError(
                f"loss is missing, and model(**batch) returned {kind(outputs)} without a loss; add labels to the "
                "batches, or set loss=lambda model, batch: ..."
            )
        return found
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not all(isinstance(each, Tensor) for each in batch):
        raise ValueError(
            f"loss is missing, and batches are {kind(batch)}, not pairs of inputs and class numbers; set "
            "loss=lambda model, batch: ..."
        )
    return _cross_entropy(model(batch[0]), batch[1])


def _cross_entropy(outputs: Any, targets: Tensor) -> Tensor:
    """Cross entropy of outputs [n, classes, ...] and targets [n, ...]."""
    way = "set loss=lambda model, batch: ..."
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise ValueError(f"loss is missing, and targets are {targets.dtype}, not class numbers; {way}")
    if not isinstance(outputs, Tensor) or not outputs.is_floating_point():
        raise ValueError(f"loss is missing, and the model returned {kind(outputs)}, not logits; {way}")
    if outputs.dim() != targets.dim() + 1 or outputs.shape[:1] + outputs.shape[2:] != targets.shape:
        raise ValueError(
            f"loss is missing, and for targets of shape {tuple(targets.shape)} the model returned "
            f"{tuple(outputs.shape)}, but cross entropy needs [n, classes, ...]; {way}"
        )
    return F.cross_entropy(outputs, targets.long())


def _short(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return repr(value) if isinstance(value, str | int | float | type(None)) else kind(value)
