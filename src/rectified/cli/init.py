"""rectified init."""

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
plain: a small network on tensors. huggingface: a causal language model on your own text. lightning: the steps
and loaders of a LightningModule.
""")

Template = Literal["plain", "huggingface", "lightning"]


@dataclass(frozen=True)
class Init:
    """Write a working task file to start from, for `rectified study` to compare methods on."""

    file: Annotated[Positional[Path], arg(metavar="my_task.py")]
    """File to write. One that is there is never overwritten."""
    template: Annotated[Template, arg(metavar="plain|huggingface|lightning", help=_TEMPLATES)] = "plain"

    def __call__(self, command: str, console: Console) -> int:
        path = expanded(self.file)
        if path.suffix != ".py":
            raise ValueError(
                f"{self.file} does not end in .py; write such as rectified init {self.file.stem or 'my_task'}.py"
            )
        if is_installed(path.stem):
            raise ValueError(
                f"{self.file} would hide the package {path.stem} from imports; name it such as my_{path.stem}.py"
            )
        text = template(self.template).replace("{file}", str(self.file))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise ValueError(f"{self.file} is there already, and nothing is overwritten; name another file") from None
        console.print(f"wrote {path}; next: rectified study {self.file} --plan", soft_wrap=True)
        return 0


def template(name: Template) -> str:
    """The text of a template; ``{file}`` in it is the file's own name."""
    return files(workloads).joinpath("templates", f"{name}.py.txt").read_text(encoding="utf-8")
