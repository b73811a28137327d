"""ImageNet and Tiny ImageNet: find them in a user's folder, packed or unpacked, and check that they are complete.

ImageNet is that of ILSVRC 2012 (Russakovsky et al. 2014, arXiv:1409.0575): 1,281,167 pictures of any size to train on
and 50,000 to test, in 1,000 classes. Tiny ImageNet (Stanford's course CS231n) has 100,000 and 10,000 of 64 x 64 in 200.
Neither may be redistributed, so nothing is fetched here. Their layouts are in image_folder.py.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from .. import archives, cache
from ..find import DataNotFoundError, Place, Say, expanded, to_stderr
from .image_folder import index

ARCHIVES = (".tar.gz", ".tgz", ".tar", ".zip")


@dataclass(frozen=True)
class ImageNetSource:
    """A data set that the user has to provide.

    Attributes:
        name: in the cache; in the user's folder, names of folders and archives that begin with it are looked into.
        title: in messages.
        origin: where to get it, for messages.
        limit: bytes of an unpacked archive.
    """

    name: str
    title: str
    origin: str
    limit: int

    def find(self, folder: Path | None, images: int, say: Say = to_stderr) -> Path:
        """Find the folder with `images` training pictures, in either layout: in the user's `folder`, or in the cache.

        Inside that, the data may be in a folder whose name begins with the source's, or packed; an archive is unpacked
        into the cache, once.

        Args:
            say: is called with one line for whatever takes time.

        Raises:
            DataNotFoundError: the data is missing or incomplete; says what was wrong with each location.
        """

        def check(place: Path) -> Path:
            if place.name.endswith(ARCHIVES) and place.is_file():
                place = _unpacked(place, self.limit, say)
            found = len(index(place).train.labels)
            if found != images:
                raise DataNotFoundError(
                    f"{place}: {found} training pictures, not {images}; "
                    f"if these are all that there should be, name the task {self.name}(images={found})"
                )
            return place

        data = Place(self.name, self.title, check)
        wanted = "train and val, with a folder per class, or Tiny ImageNet's layout"

        def cached(say: Say) -> Path:
            home = cache.root()
            if not (inside := self._inside(home)):
                raise DataNotFoundError(f"nothing in {home / self.name}")
            return data.named(home, inside, wanted)

        if folder is not None:
            folder = expanded(folder)
            return data.named(folder, ("", *self._inside(folder)), wanted)
        advice = (
            f"What you can do:\n  - {self.origin}\n    and name its folder with --data FOLDER, or put it into {{cache}}"
        )
        return data.by((("the cache", cached),), advice, say)

    def _inside(self, folder: Path) -> list[str]:
        """The folders and archives that may hold the data, by their names, in the folder and one level below."""
        found = [path for name in (self.name, f"{self.name}*/{self.name}") for path in folder.glob(f"{name}*")]
        return sorted(str(path.relative_to(folder)) for path in found if path.is_dir() or path.name.endswith(ARCHIVES))


IMAGENET = ImageNetSource(
    "imagenet",
    "ImageNet",
    "register at https://image-net.org/download.php for ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar,\n"
    "    unpack them into train/CLASS/*.JPEG and val/CLASS/*.JPEG",
    limit=400 * 10**9,  # with the test pictures it has 160
)
TINY_IMAGENET = ImageNetSource(
    "tiny-imagenet",
    "Tiny ImageNet",
    "fetch https://cs231n.stanford.edu/tiny-imagenet-200.zip (248 MB, for research only) on any machine",
    limit=4 * 10**9,  # it has about 0.25
)


def _unpacked(archive: Path, limit: int, say: Say) -> Path:
    """Unpack an archive into the cache, once for its name and content; returns the folder in it that has `train`."""
    with archive.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    suffix = next(suffix for suffix in ARCHIVES if archive.name.endswith(suffix))

    def make(folder: Path) -> None:
        say(f"{archive}: unpacking it into {cache.root()}, once")
        archives.unpack(archive, folder, limit)
        os.sync()  # the cache syncs files one by one; for a hundred thousand files this is faster

    def inner(folder: Path) -> Path:
        for train in (folder / "train", *sorted(folder.glob("*/train"))):
            if train.is_dir():
                return train.parent
        raise DataNotFoundError(f"{archive}: holds no folder train")

    name = f"{archive.name.removesuffix(suffix)}-{digest[:12]}"
    home = cache.root() / name
    return inner(home if home.is_dir() else cache.fill(name, make, inner))
