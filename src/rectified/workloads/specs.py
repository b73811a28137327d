"""Specs: a name, or a name with options in parentheses, such as ``adam(beta2=0.95)``, and lists of them.

Options are values alone: numbers, words, tuples. Nothing is called.
"""

import ast
import re
from typing import Any


def split(text: str) -> list[str]:
    """Split a list at the commas that are not inside parentheses.

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
    """Parse options, written like the keywords of a call; words need no quotes.

    Args:
        what: whose options they are, for the error's text.
        source: what is between the parentheses.

    Raises:
        ValueError: it is not a list of name=value, or a value is not a literal.

    >>> read_options("method 'adam'", "beta2=0.95, eps=1e-6")
    {'beta2': 0.95, 'eps': 1e-06}
    >>> read_options("task 'translation'", "norm=pre,tokenizer=13a")
    {'norm': 'pre', 'tokenizer': '13a'}
    """
    values, options = read_arguments(what, source)
    if values:
        raise ValueError(f"{what}: write options as name=value")
    return options


def read_arguments(what: str, source: str) -> tuple[list[Any], dict[str, Any]]:
    """Read the values and the keywords between the parentheses of a call.

    Raises:
        ValueError: it is no list of arguments, or a value is no literal.

    >>> read_arguments("a warmup", "100, power=2.0")
    ([100], {'power': 2.0})
    """
    quoted = re.sub(r"((?:^|,)\s*\w+\s*=\s*)([0-9]+[A-Za-z]+)(?=\s*(?:,|$))", r"\1'\2'", source)  # 13a is no number
    try:
        call = ast.parse(f"f({quoted})", mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        call = None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(f"{what}: cannot read the options {source!r}; write name=value with commas between them")
    values = [_value(what, node) for node in call.args]
    return values, {keyword.arg or "**": _value(what, keyword.value) for keyword in call.keywords}


def _value(what: str, node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(f"{what}: {ast.unparse(node)} is no value; write a number, a word or a tuple") from None
