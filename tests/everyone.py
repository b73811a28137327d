"""Every optimizer of the package once, for what all of them share whatever their equation is."""

from functools import partial

import pytest
import torch

import rectified
from rectified.optim import contrib
from rectified.warmup import GuardedLinear, Linear, Rectified, SecondMomentOnly, UntunedLinear

EVERYONE = {
    "Adam": rectified.Adam,
    "Adam, linear": partial(rectified.Adam, warmup=Linear(9)),
    "Adam, guarded": partial(rectified.Adam, warmup=GuardedLinear(9)),
    "Adam-2k": partial(rectified.Adam, warmup=SecondMomentOnly(2), amsgrad=True),
    "AdamW": partial(rectified.AdamW, warmup=UntunedLinear()),
    "RAdam": rectified.RAdam,
    "RAdam, hold": partial(rectified.RAdam, start="hold", variance="exact", weight_decay=0.1),
    "RMSprop": partial(rectified.RMSprop, momentum=0.9, centered=True, warmup=Rectified()),
    "NAdam": partial(rectified.NAdam, warmup=Linear(4)),
    "Adadelta": rectified.Adadelta,
    "LAMB": partial(rectified.LAMB, warmup=Linear(4)),
    "COCOB": contrib.COCOB,
    "SGDHD": partial(contrib.SGDHD, momentum=0.9),
    "AdamHD": contrib.AdamHD,
    "GIAdam": contrib.GIAdam,
    "RandomV0Adam": partial(contrib.RandomV0Adam, sigma=0.5),
    "StableAdamW": contrib.StableAdamW,
    "YellowFin": contrib.YellowFin,
}
everyone = pytest.mark.parametrize("make", EVERYONE.values(), ids=EVERYONE.keys())

# Other libraries' optimizers, as rectify and WarmupLR meet them.
OTHERS = {
    "SGD": partial(torch.optim.SGD, lr=0.1),
    "Adam": partial(torch.optim.Adam, lr=0.1),
    "NAdam": partial(torch.optim.NAdam, lr=0.1),
    "rectified.Adam": partial(rectified.Adam, lr=0.1),
}
others = pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS.keys())


def has_lr(make):
    return getattr(make, "func", make) is not contrib.COCOB
