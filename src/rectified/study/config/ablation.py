"""RAdam with other first steps, as warmups: the paper's ablation of whether only the first steps matter.

    radam-4hold                no update in steps 1 to 4, then RAdam
    radam-4adam                Adam's own updates in steps 1 to 4, then RAdam
    radam-4momentum-4adam      momentum in steps 1 to 4, Adam's own updates in steps 5 to 8, then RAdam

RAdam here is the paper's Algorithm 2 with threshold 4, whose own momentum start takes four steps for beta2 >= 0.81.

Reference: the authors' repository, cifar_imagenet/fourstep.sh; arXiv:1908.03265, section 5.
"""

from dataclasses import dataclass
from typing import ClassVar

from ...warmup import Rectified, Start, Warmup

PAPER = Rectified(threshold=4)


@dataclass(frozen=True)
class Unrectified(Warmup):
    """omega = 1 in steps `first` to `last`; in all other steps the paper's r_t, or its momentum start.

    >>> warmup = Unrectified(5, 8)
    >>> [round(warmup.omega(t, beta2=0.999), 3) for t in (4, 5, 8, 9)]
    [0.0, 1.0, 1.0, 0.044]
    """

    start: ClassVar[Start] = "momentum"  # type: ignore[misc]  # no field

    first: int
    last: int

    def check(self, beta2: float) -> None:
        PAPER.check(beta2)

    def omega(self, t: int, beta2: float) -> float:
        return 1.0 if self.first <= t <= self.last else PAPER.omega(t, beta2)
