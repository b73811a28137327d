"""Templates of the pages that stand alone: a study's report and the theory."""

from pathlib import Path

import jinja2

from .style import SHEETS


def environment(folder: Path) -> jinja2.Environment:
    """Jinja's environment for the templates in a folder, which may include the style sheets.

    Values are escaped, and a name that a template does not get is an error.
    """
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, SHEETS]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
