"""AdamState: the moments and step counts of a run by parameter name, and the file that holds them."""

import os
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..files import expanded, writing
from ..messages import shown, text_of

Array = NDArray[Any]

FORMAT = "rectified.interchange.AdamState"
VERSION = 1
_DTYPES = ("float16", "float32", "float64", "complex64", "complex128")


@dataclass(frozen=True, eq=False, repr=False)
class AdamState:
    """A run's state of Adam, AdamW or RAdam: the moments and the step count of each parameter, by name, in numpy.

    Moments are of float16, float32, float64, or complex. Moments of bfloat16, which numpy lacks, become float32, which
    changes no value.

    Args:
        m: the first moment of each parameter: the moving average of the gradient, without bias correction, in the
            parameter's shape and layout.
        v: the second moment: the moving average of the squared gradient, likewise. That of a complex parameter is
            complex: the averages of the squares of the real and of the imaginary part, as torch has them.
        counts: the number of steps that each parameter has taken. A parameter with a count of 0 has no moments yet:
            its m and v are 0.
        v_max: the largest v so far, of the parameters that are trained with amsgrad.

    Raises:
        TypeError: a moment has another dtype, or a count is not a whole number.
        ValueError: m, v and counts have different names, the moments of a parameter have different shapes, a count is
            negative, or a parameter with a count of 0 has moments.

    >>> state = AdamState(m={"w": np.array([0.1, 0.2])}, v={"w": np.array([0.01, 0.04])}, counts={"w": 7})
    >>> state
    AdamState(1 parameter, 2 elements, 7 steps)
    """

    m: Mapping[str, Array]
    v: Mapping[str, Array]
    counts: Mapping[str, int]
    v_max: Mapping[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in ("m", "v", "v_max"):
            given: Mapping[str, Any] = getattr(self, kind)
            object.__setattr__(self, kind, {name: _moment(x, f"{kind} of {shown(name)}") for name, x in given.items()})
        object.__setattr__(self, "counts", {name: _count(x, name) for name, x in self.counts.items()})
        for kind, there in (("v", self.v), ("counts", self.counts), ("v_max", self.v_max or self.m)):
            one_sided = [*(there.keys() - self.m.keys()), *(self.m.keys() - there.keys() if kind != "v_max" else ())]
            if one_sided:
                raise ValueError(f"m and {kind} must have the same names; {listed(one_sided)} is in one of them only")
        for name, m in self.m.items():
            shapes = {x[name].shape for x in (self.m, self.v, self.v_max) if name in x}
            if len(shapes) > 1:
                raise ValueError(f"the moments of {shown(name)} have different shapes: {sorted(shapes)}")
            if self.counts[name] == 0 and (m.any() or self.v[name].any()):
                raise ValueError(f"the count of {shown(name)} is 0, but its moments are not: they have taken steps")

    def __repr__(self) -> str:
        many, size, steps = len(self.m), sum(x.size for x in self.m.values()), sorted(set(self.counts.values()))
        steps_text = f"{steps[0]} to {steps[-1]} steps" if len(steps) > 1 else f"{self.steps} steps"
        return f"AdamState({many} parameter{'s' * (many != 1)}, {size:,} elements, {steps_text})"

    @property
    def steps(self) -> int:
        """The number of steps of the run: the largest count, 0 without parameters.

        >>> zero, one = np.zeros(1), np.ones(1)
        >>> AdamState({"a": one, "b": zero}, {"a": one, "b": zero}, {"a": 30, "b": 0}).steps
        30
        """
        return max(self.counts.values(), default=0)

    def renamed(self, names: Mapping[str, str | None] | Callable[[str], str | None]) -> "AdamState":
        """A state with other names, for a framework that calls the parameters differently.

        Args:
            names: the new name of each parameter, or a function from the old name to the new one. Names that a mapping
                lacks stay. None leaves the parameter out.

        Raises:
            ValueError: the mapping has a name that the state lacks, or two parameters get the same name.

        >>> ones = {"module.w": np.ones(2), "module.b": np.ones(1)}
        >>> state = AdamState(m=ones, v=ones, counts=dict.fromkeys(ones, 3))
        >>> list(state.renamed(lambda name: name.removeprefix("module.")).m)
        ['w', 'b']
        >>> list(state.renamed({"module.w": "w", "module.b": None}).m)
        ['w']
        """
        if callable(names):
            new = {name: names(name) for name in self.m}
        else:
            if unknown := [name for name in names if name not in self.m]:
                raise ValueError(f"the state has no {listed(unknown)} to rename; it has {listed(self.m)}")
            new = {name: names.get(name, name) for name in self.m}
        kept = {old: name for old, name in new.items() if name is not None}
        if twice := repeated(kept.values()):
            raise ValueError(f"several parameters would be called {listed(twice)}")
        columns: dict[str, Any] = {
            each.name: {kept[old]: x for old, x in getattr(self, each.name).items() if old in kept}
            for each in fields(self)
        }
        return AdamState(**columns)

    def mapped(self, function: Callable[[str, Array], Array]) -> "AdamState":
        """A state with another layout: the function is applied to every m, v and v_max.

        It may move elements (transpose, reshape, slice), as that of the weights does, but not change their values:
        where a weight is scaled by c, m is scaled by 1/c, but v by 1/c^2.

        Args:
            function: from a parameter's name and an array in its layout to the array in the new layout.

        Raises:
            TypeError: the function returns something else than an array of numbers.
            ValueError: the moments of a parameter have different shapes then.

        The weight of torch's Linear is the transpose of a Dense kernel in flax and Keras, and the weight of a Conv2d
        has its dimensions in another order:

        >>> zeros = {"conv": np.zeros((8, 3, 5, 5)), "fc": np.zeros((10, 8)), "bias": np.zeros(10)}
        >>> state = AdamState(m=zeros, v=zeros, counts=dict.fromkeys(zeros, 0))
        >>> in_jax = state.mapped(lambda name, x: x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T)
        >>> {name: x.shape for name, x in in_jax.m.items()}
        {'conv': (5, 5, 3, 8), 'fc': (8, 10), 'bias': (10,)}
        """
        new = {
            kind: {name: function(name, x) for name, x in getattr(self, kind).items()} for kind in ("m", "v", "v_max")
        }
        return AdamState(counts=self.counts, **new)

    def __or__(self, other: "AdamState") -> "AdamState":
        """A state with the parameters of both; where both have one, with that of the right side, as for dicts.

        >>> old = AdamState(m={"w": np.ones(2)}, v={"w": np.ones(2)}, counts={"w": 30})
        >>> head = AdamState(m={"head": np.zeros(5)}, v={"head": np.zeros(5)}, counts={"head": 0})
        >>> (head | old).counts
        {'head': 0, 'w': 30}
        """
        if not isinstance(other, AdamState):
            return NotImplemented
        mine = {name: x for name, x in self.v_max.items() if name not in other.m}
        return AdamState(
            {**self.m, **other.m}, {**self.v, **other.v}, {**self.counts, **other.counts}, {**mine, **other.v_max}
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the state to a file in numpy's .npz format, atomically: it is complete, or the old file stays.

        It has the arrays ``m/NAME``, ``v/NAME``, ``counts/NAME`` and ``v_max/NAME`` for each parameter, so that
        ``numpy.load`` reads it anywhere.

        Args:
            path: the file, whose name is used unchanged.

        Raises:
            OSError: it cannot be written.
            ValueError: the name of a parameter has a backslash or a character that cannot be printed, or ends in
                ``.npy``.

        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "adam.npz"
        >>> AdamState(m={"w": np.ones(2)}, v={"w": np.ones(2)}, counts={"w": 3}).save(path)
        >>> with np.load(path) as file:
        ...     print(sorted(file))
        ['counts/w', 'format', 'm/w', 'v/w', 'version']
        """
        # zipfile cuts names at a null character and replaces backslashes; numpy drops an ending.
        if wrong := [name for name in self.m if "\\" in name or name.endswith(".npy") or not name.isprintable()]:
            raise ValueError(f"{listed(wrong)} cannot be a name in a file: use state.renamed(...) first")
        content = {"format": np.array(FORMAT), "version": np.array(VERSION)}
        for each in fields(self):
            content.update({f"{each.name}/{name}": np.asarray(x) for name, x in getattr(self, each.name).items()})
        arrays: dict[str, Any] = content  # numpy's own keyword arguments are not among them
        with writing(expanded(path).resolve()) as file:
            np.savez(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "AdamState":
        """Read a state that :meth:`save` wrote. Nothing in the file is run: it holds no pickled objects.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is no such file, damaged, or of a later version.

        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "adam.npz"
        >>> AdamState(m={"w": np.ones(2)}, v={"w": np.ones(2)}, counts={"w": 3}).save(path)
        >>> AdamState.load(path)
        AdamState(1 parameter, 2 elements, 3 steps)
        """
        whose = shown(os.fspath(path))
        with expanded(path).open("rb") as file:
            try:
                content = _read(file)
            except (ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
                raise ValueError(f"{whose} is not a file of AdamState.save, or damaged: {text_of(error)}") from error
        version = content.pop("version")
        if version != VERSION:
            raise ValueError(f"{whose} has version {version} of its format, and this rectified reads {VERSION}")
        columns: dict[str, dict[str, Any]] = {each.name: {} for each in fields(cls)}
        for key, x in content.items():
            kind, slash, name = key.partition("/")
            if not slash or kind not in columns:
                raise ValueError(f"{whose} is not a file of AdamState.save: it has {shown(key)}")
            columns[kind][name] = x.item() if kind == "counts" and x.ndim == 0 else x
        try:
            return cls(**columns)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{whose} is damaged: {error}") from error


def _read(file: IO[bytes]) -> dict[str, Any]:
    """The arrays of a file, and the number of its version."""
    arrays = np.load(file, allow_pickle=False)
    if isinstance(arrays, np.ndarray):
        raise ValueError("it has a single array")
    with arrays:
        if "format" not in arrays or str(arrays["format"]) != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        content = {key: arrays[key] for key in arrays.files if key != "format"}
    return {**content, "version": int(content["version"])}


def _moment(x: Any, what: str) -> Array:
    """Return a moment as an array of a dtype that a file can have."""
    array = np.asarray(x)
    if array.dtype.name == "bfloat16":  # jax's
        array = array.astype(np.float32)
    if array.dtype.name not in _DTYPES:
        raise TypeError(f"{what} has the dtype {array.dtype}; it must be one of {', '.join(_DTYPES)} or bfloat16")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _count(x: Any, name: str) -> int:
    """Return a step count as an int."""
    if isinstance(x, bool) or not hasattr(x, "__index__"):
        raise TypeError(f"the count of {shown(name)} is {shown(x)}; it must be an int")
    count = int(x)
    if count < 0:
        raise ValueError(f"the count of {shown(name)} is {count}; it must be 0 or more")
    return count


def repeated(names: Iterable[str]) -> list[str]:
    """Names that occur several times.

    >>> repeated(["a", "b", "a"])
    ['a']
    """
    return [name for name, times in Counter(names).items() if times > 1]


def listed(names: Iterable[str], most: int = 6) -> str:
    """Names for a message: the first ones, and how many there are besides.

    >>> listed(["a", "b", "c"], 2)
    "'a', 'b' and 1 more"
    """
    every = [shown(name) for name in names]
    rest = f" and {len(every) - most} more" if len(every) > most else ""
    return (", ".join(every[:most]) or "nothing") + rest
