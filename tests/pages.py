"""The code of a page in docs/ runs as it stands there, and prints what the page shows below it."""

import io
import re
from contextlib import redirect_stdout
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def run(page, names):
    """Run the page's blocks one after the other, with these names known; returns the names known at the end."""
    names = {"__name__": page, **names}
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python"), "every block that is opened is found"
    for block in blocks:
        above = text.count("\n", 0, block.start(1))
        code = compile("\n" * above + block[1], str(DOCS / page), "exec")  # a traceback shows the page's own lines
        if block[2] is None:
            exec(code, names)
            continue
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(code, names)
        assert printed.getvalue() == block[2]
    return names
