"""Lists of names, and the options in parentheses after one: values alone, nothing is called."""

import ast
from typing import Any


def split(text: str) -> list[str]:
    """At the commas that are not inside parentheses.

    >>> split("adam(eps=1e-6,betas=(0.8,0.9)), radam")
    ['adam(eps=1e-6,betas=(0.8,0.9))', 'radam']
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def read_options(what: str, source: str) -> dict[str, Any]:
    """The keywords in `source`, as between the parentheses of a call; a word needs no quotes.

    Args:
        what: whose they are, for the error's text.

    Raises:
        ValueError: it is no list of name=value, or a value is no literal.

    >>> read_options("method 'adam'", "beta2=0.95, eps=1e-6")
    {'beta2': 0.95, 'eps': 1e-06}
    >>> read_options("task 'translation'", "norm=pre")
    {'norm': 'pre'}
    """
    try:
        call = ast.parse(f"f({source})", mode="eval").body
        assert isinstance(call, ast.Call)
        if call.args:
            raise ValueError("write options as name=value")
        return {keyword.arg or "**": _value(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{what}: {error}") from None


def _value(node: ast.expr) -> Any:
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)
