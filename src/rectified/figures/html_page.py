"""The template environment of the self-contained pages: a study's report and the theory."""

from pathlib import Path

import jinja2

from .style import SHEETS


def environment(folder: Path) -> jinja2.Environment:
    """A Jinja environment for the templates in a folder, which may include the shared style sheets.

    Values are escaped, and an undefined name in a template is an error.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, SHEETS]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
