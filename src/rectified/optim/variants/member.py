"""What the members of the family share: omega, and that they stand still while it is 0."""

from typing import Any, ClassVar

from ..base import Bucket, Plain
from ..step.options import Group, check_common, check_warmup, omega_at, undebiased


class Member(Plain):
    """An optimizer with a warmup in front of its update.

    While omega is 0 its averages take in the gradients and the parameters stand still, whatever ``warmup.start`` says.
    """

    DEBIASED: ClassVar[bool] = True

    def rate(self, group: Group) -> float:
        """The decay rate of v, under whatever name."""
        return float(group["betas"][1])

    def check(self, group: Group) -> None:
        check_common(group)
        check_warmup(group["warmup"], self.rate(group))

    def omega(self, group: Group, t: int) -> float:
        """The factor of step t."""
        if group["warmup"] is None:
            return 1.0
        omega = omega_at(group["warmup"], t, self.rate(group))
        return omega if self.DEBIASED else omega * undebiased(group["warmup"], t, self.rate(group))

    def move(self, group: Group, bucket: Bucket) -> None:
        omega = group["omega"] = self.omega(group, bucket.t)
        self.update(group, bucket, omega)

    def update(self, group: Group, bucket: Bucket, omega: float) -> None:
        """Take the step at this omega."""
        raise NotImplementedError


def check_rate(name: str, value: Any) -> None:
    """Raise unless it is a decay rate."""
    if not 0 <= value < 1:
        raise ValueError(f"Invalid {name} value: {value}; it must lie in [0, 1)")
