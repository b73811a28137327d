"""Codes for moments of 8 bits, on the gradients of real runs: what each loses of Adam's direction m / sqrt(v).

    python benchmarks/eight_bit_codes.py [--steps 300] [--tasks gpt-post,cnn,vit] [--out benchmarks/results]

One float32 run of each task of the truth set. Every code averages the gradients of that same run, coded after every
step, so that its errors add up as in training. At the end the direction with its m, or with its v, is compared with
the float32 one: the relative error, the mean of the direction (1 is right), and the largest element over the largest
one. Codes have 127 levels and a sign for m, 255 levels for v, which is that of the root of v but where it says *v*:

- *linear*; *softsign*, 2 z / (1 + z); *dynamic*, the tree of decades; *mu-law*, log(1 + 255 z); *cube root*;
- a scale for so many elements;
- rounded to *nearest*, or *spread*: up or down such that the mean over steps is right;
- *with 0*: v may be rounded to 0; otherwise the smallest code of a v above 0 is 1.

flashoptim 0.1.4 has softsign for m and linear with 0 for the root of v, for 32 elements. bitsandbytes 0.50 and torchao
0.18 have dynamic, with 0, for 256 elements, of v itself. This package has cube root for 128 elements, spread for v.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.append(str(Path(__file__).parent / "truth_set"))
import tasks

from rectified.figures.table import markdown
from rectified.files import write
from rectified.optim.states.eight_bit import BY_ELEMENT, BY_STEP, LANE, M_LEVELS, NEARLY_1, V_LEVELS
from rectified.study.execution.provenance import versions

TITLE = """# What do codes of 8 bits lose of Adam's direction?

Relative error, mean (1 is right), and the largest element over the largest one, after a float32 run of 300 steps;
`benchmarks/eight_bit_codes.py` says what each code is"""
LR, BETAS, EPS = 0.003, (0.9, 0.999), 1e-8


def _dynamic(levels: int) -> Tensor:
    """The values of bitsandbytes' dynamic map in [0, 1]: seven decades, each with twice as many as the one below."""
    means = []
    for decade in range(7):
        edges = torch.linspace(0.1, 1, 2**decade * (1 if levels == M_LEVELS else 2) + 1)
        means += (10.0 ** (decade - 6) * (edges[1:] + edges[:-1]) / 2).tolist()
    return torch.tensor(sorted([0.0, *means, 1.0]))


def _even(decode: Callable[[Tensor], Tensor]) -> Callable[[int], Tensor]:
    """The values of codes that are evenly spaced after companding."""
    return lambda levels: decode(torch.linspace(0, 1, levels + 1))


VALUES: dict[str, Callable[[int], Tensor]] = {
    "linear": _even(lambda y: y),
    "softsign": _even(lambda y: y / (2 - y)),
    "dynamic": _dynamic,
    "mu-law": _even(lambda y: torch.expm1(y * math.log(256)) / 255),
    "cube root": _even(lambda y: y**3),
}


@dataclass(frozen=True)
class Code:
    """A code of one of the moments."""

    moment: str
    values: str
    spread: bool = False
    with_0: bool = False
    lane: int = LANE
    root: bool = True

    def __str__(self) -> str:
        words = [self.values, str(self.lane), "spread" if self.spread else "nearest"]
        return ", ".join(words + ["with 0"] * self.with_0 + ["v"] * (not self.root))

    def stored(self, x: Tensor, t: int) -> Tensor:
        """What is left of a flat moment after it was coded at step t."""
        is_v = self.moment == "v"
        is_root = is_v and self.root
        size = x.abs().sqrt() if is_root else x.abs()
        lanes = F.pad(size, (0, -len(x) % self.lane)).view(-1, self.lane)
        tops = lanes.amax(1, keepdim=True).clamp(min=1e-30)
        z, values = lanes / tops, VALUES[self.values](V_LEVELS if is_v else M_LEVELS)
        high = torch.searchsorted(values, z).clamp(1, len(values) - 1)
        below, above = values[high - 1], values[high]
        if is_v and not self.with_0:
            below = torch.where((high == 1) & (z > 0), values[1], below)
        power = 2 if is_root else 1
        share = (z**power - below**power) / (above**power - below**power).clamp(min=1e-30)
        up = (share > (_spread(z, t) if self.spread else 0.5)) | (z > NEARLY_1)
        kept = (torch.where(up, above, below) * tops).flatten()[: len(x)]
        return kept * kept if is_root else kept.copysign(x)


def _spread(z: Tensor, t: int) -> Tensor:
    places = torch.arange(z.numel(), dtype=torch.float64)
    return ((places * (BY_ELEMENT / 2**32) + t * (BY_STEP / 2**32)) % 1).float().view_as(z)


CODES = [
    *(Code("m", values) for values in VALUES),
    Code("m", "softsign", lane=32),
    Code("m", "dynamic", lane=256),
    *(Code("v", values, spread) for values in VALUES for spread in (False, True)),
    Code("v", "linear", with_0=True, lane=32),
    Code("v", "dynamic", with_0=True, lane=256, root=False),
]
# Both moments of a library.
PAIRS = {
    "flashoptim's": (Code("m", "softsign", lane=32), Code("v", "linear", with_0=True, lane=32)),
    "bitsandbytes'": (Code("m", "dynamic", lane=256), Code("v", "dynamic", with_0=True, lane=256, root=False)),
    "this package's": (Code("m", "cube root"), Code("v", "cube root", True)),
}


def measured(name: str, steps: int) -> list[dict[str, object]]:
    """The errors of every code after a run."""
    task = tasks.MAKE[name]()
    data = task.load(Path())
    torch.manual_seed(0)
    model = task.model(data)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR, betas=BETAS, eps=EPS)
    params = [p for p in model.parameters() if p.ndim > 1 and p.numel() >= 4096]
    size = sum(p.numel() for p in params)
    right = {"m": torch.zeros(size), "v": torch.zeros(size)}
    coded = {code: torch.zeros(size) for code in CODES}
    for t, batch in enumerate(islice(_batches(task, data), steps), 1):
        loss = task.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        g = torch.cat([p.grad.flatten() for p in params if p.grad is not None])
        new = {"m": (g, BETAS[0]), "v": (g * g, BETAS[1])}
        for moment, (x, beta) in new.items():
            right[moment].lerp_(x, 1 - beta)
        for code, kept in coded.items():
            x, beta = new[code.moment]
            coded[code] = code.stored(kept.lerp(x, 1 - beta), t)
    d = _direction(right["m"], right["v"], steps)
    found = []
    others = {(code.moment, str(code)): {**right, code.moment: kept} for code, kept in coded.items()}
    others |= {("both", pair): {"m": coded[m], "v": coded[v]} for pair, (m, v) in PAIRS.items()}
    for (moment, code), moments in others.items():
        other = _direction(**moments, t=steps)
        found.append(
            {
                "task": name,
                "moment": moment,
                "code": code,
                "error": ((other - d).norm() / d.norm()).item(),
                "mean": (other.dot(d) / d.dot(d)).item(),
                "largest": (other.abs().max() / d.abs().max()).item(),
            }
        )
    return found


def _direction(m: Tensor, v: Tensor, t: int) -> Tensor:
    return (m / (1 - BETAS[0] ** t)) / ((v / (1 - BETAS[1] ** t)).sqrt() + EPS)


def _batches(task: tasks.Task, data: object) -> Iterator[object]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield from task.batches(data, task.batch_size, generator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--tasks", default="gpt-post,cnn,vit")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    names = asked.tasks.split(",")
    found = [row for name in names for row in measured(name, asked.steps)]
    rows = []
    for moment, code in dict.fromkeys((str(r["moment"]), str(r["code"])) for r in found):
        mine = [r for r in found if (r["moment"], r["code"]) == (moment, code)]
        cells = [f"{r['error']:.3f}, {r['mean']:.3f}, {r['largest']:.2f}" for r in mine]
        rows.append([moment, code, *cells])
    table = markdown(("moment", "code", *(f"{name}: error, mean, largest" for name in names)), rows)
    print(table)
    if asked.out:
        write(asked.out / "eight_bit_codes.md", f"{TITLE}\n\n{table}\n")
        write(asked.out / "eight_bit_codes.json", json.dumps({"versions": versions("cpu"), "codes": found}) + "\n")


if __name__ == "__main__":
    main()
