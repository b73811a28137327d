"""Fashion-MNIST: find its four files or fetch them, check them, read them.

70,000 gray pictures of clothes, 28 x 28, in ten classes (Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747).
"""

from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from .. import fetch, published
from ..find import Place, Say, Way, expanded, to_stderr
from ..text.lines import file
from . import idx
from .pictures import Pictures

NAME = "fashion-mnist"
# Zalando's repository has the same files as its bucket, whose website has no https.
URL = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
PACKAGE = "dataset-fashion-mnist"
PLACE = "usr/share/datasets/fashion-mnist"  # where the package has the files
SYSTEM = Path("/")

# Zalando publishes MD5 sums of its .gz files, but Debian's copies lack the name in the gzip header and have
# another time there, and other tools unzip. The content is the same: with Zalando's names and times
# (31 August 2017) put back, Debian's four files have the four published sums.
SUMS = {
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
}

# Inside a folder that a user names: itself, torchvision's layout from outside and from within, our own.
LAYOUTS = ("", "FashionMNIST/raw", "raw", NAME)

ADVICE = f"""What you can do:
  - fetch the four .gz files from {URL} on any machine and
    name their folder with --data FOLDER, or put them into {{cache}}
  - on Debian or Ubuntu: apt install {PACKAGE}
  - if the cache cannot be written: set RECTIFIED_CACHE to a folder that can"""


def mini() -> Path:
    """The folder of the miniature in this package: the first 600 training and 100 test pictures of each class.

    >>> sorted(path.name for path in mini().glob("t10k*"))
    ['t10k-images-idx3-ubyte.gz', 't10k-labels-idx1-ubyte.gz']
    """
    return Path(str(resources.files("rectified.workloads.data.images") / "fashion-mnist-mini"))


def load(folder: Path) -> Pictures:
    """Read the four files, gzipped or not, from `find()` or `mini()`.

    Raises:
        DataNotFoundError: a file is missing, or a damaged gzip file.
        ValueError: a file is not in the IDX format, or there are not as many labels as pictures.

    >>> [tuple(part.shape) for part in load(mini())]
    [(6000, 28, 28), (6000,), (1000, 28, 28), (1000,)]
    """
    folder = expanded(folder)
    parts = Pictures(
        idx.read(file(folder, "train-images-idx3-ubyte"), dims=3),
        idx.read(file(folder, "train-labels-idx1-ubyte"), dims=1),
        idx.read(file(folder, "t10k-images-idx3-ubyte"), dims=3),
        idx.read(file(folder, "t10k-labels-idx1-ubyte"), dims=1),
    )
    for images, labels in (parts[:2], parts[2:]):
        if len(images) != len(labels):
            raise ValueError(f"{folder}: {len(images)} pictures, but {len(labels)} labels")
    return parts


def find(folder: Path | None = None, say: Say = to_stderr, fetch: bool = True) -> Path:
    """Find the folder with the four files and verify their content: `folder`, or by the first of WAYS that works.

    Args:
        folder: the user's, in any of LAYOUTS; nothing else is tried then.
        say: is called with one line for whatever takes time or is damaged.
        fetch: if False, only look on this machine.

    Raises:
        DataNotFoundError: `folder` does not hold the files, or no way led to them.
    """
    if folder is not None:
        return _PLACE.named(folder, LAYOUTS, ", ".join(f"{name}[.gz]" for name in SUMS))
    return _PLACE.by(WAYS if fetch else HERE, ADVICE, say)


def _installed(say: Say) -> Path:
    return _check(SYSTEM / PLACE)


def _downloaded(say: Say) -> Path:
    return _PLACE.kept(lambda folder: published.download(folder, URL, SUMS, "Fashion-MNIST", say), say)


def _unpacked(say: Say) -> Path:
    def make(folder: Path) -> None:
        say(f"Fashion-MNIST: asking apt for the package {PACKAGE}, 31 MB; nothing is installed")
        with TemporaryDirectory(dir=folder.parent) as workshop:
            source = fetch.debian_package(PACKAGE, Path(workshop)) / PLACE
            for name in SUMS:
                file(source, name).rename(folder / f"{name}.gz")

    return _PLACE.kept(make, say)


def _check(folder: Path) -> Path:
    return published.checked(folder, SUMS)


_PLACE = Place(NAME, "Fashion-MNIST", _check)
HERE: tuple[Way, ...] = (
    ("the cache", _PLACE.cached),
    (f"the package {PACKAGE}, installed", _installed),
)
WAYS = (
    *HERE,
    ("the official download", _downloaded),
    (f"the package {PACKAGE}, unpacked without root", _unpacked),
)
