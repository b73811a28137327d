"""The command `rectified init`."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from tyro.conf import Positional, arg

from .. import workloads
from ..files import expanded
from ..workloads.user_code import is_installed
from .running import one_line

_TEMPLATES = one_line("""
plain: a small network on tensors. huggingface: a causal language model on your own text. lightning: the training
steps and data loaders of a LightningModule.
""")

Template = Literal["plain", "huggingface", "lightning"]


@dataclass(frozen=True)
class Init:
    """Write a working task file to start from, on which `rectified study` can compare methods."""

    file: Annotated[Positional[Path], arg(metavar="my_task.py")]
    """File to write. An existing file is never overwritten."""
    template: Annotated[Template, arg(metavar="plain|huggingface|lightning", help=_TEMPLATES)] = "plain"

    def __call__(self, command: str, console: Console) -> int:
        path = expanded(self.file)
        if path.suffix != ".py":
            raise ValueError(f"{self.file} does not end in .py; try: rectified init {self.file.stem or 'my_task'}.py")
        if is_installed(path.stem):
            raise ValueError(
                f"{self.file} would hide the package {path.stem} from imports; use a name such as my_{path.stem}.py"
            )
        text = template(self.template).replace("{file}", str(self.file))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise ValueError(f"{self.file} already exists and is not overwritten; choose another name") from None
        console.print(f"wrote {path}; next: rectified study {self.file} --plan", soft_wrap=True)
        return 0


def template(name: Template) -> str:
    """The text of a task file template, in which ``{file}`` stands for the file's name."""
    return files(workloads).joinpath("templates", f"{name}.py.txt").read_text(encoding="utf-8")
