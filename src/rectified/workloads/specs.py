"""Specs: a name, or a name with options in parentheses, such as ``adam(beta2=0.95)``, and lists of them.

Options are plain values: finite numbers, words, True, False, None, and tuples and lists of these. Nothing is called.
"""

import ast
import math
import re
from typing import Any

from ..messages import shortened, shown

LONGEST = 500  # characters of a spec


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


def check_length(what: str, text: str) -> str:
    """Reject a text that is longer than any spec, since a parser recurses to the depth of its nesting.

    Raises:
        ValueError: it has more than :data:`LONGEST` characters.
    """
    if len(text) > LONGEST:
        raise ValueError(f"{what} has {len(text):,} characters; the most allowed is {LONGEST}")
    return text


def read_options(what: str, source: str) -> dict[str, Any]:
    """Parse options, which are written like the keywords of a call; words need no quotes.

    Args:
        what: what the options belong to, for errors.
        source: the text between the parentheses.

    Raises:
        ValueError: it is not a list of name=value, a name appears twice, or a value is invalid.

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
    """Parse the positional values and keywords between the parentheses of a call.

    Raises:
        ValueError: it is not a list of arguments, a name appears twice, or a value is invalid.

    >>> read_arguments("a warmup", "100, power=2.0")
    ([100], {'power': 2.0})
    """
    call = _call(check_length(what, source))
    if call is None:
        raise ValueError(f"{what}: cannot parse the options {shown(source)}; write name=value, separated by commas")
    values = [_value(what, node) for node in call.args]
    options: dict[str, Any] = {}
    for keyword in call.keywords:
        if keyword.arg is None:
            raise ValueError(f"{what}: write options as name=value")
        if keyword.arg in options:
            raise ValueError(f"{what}: {shown(keyword.arg)} appears twice")
        options[keyword.arg] = _value(what, keyword.value)
    return values, options


def _call(source: str) -> ast.Call | None:
    """Parse the source as the arguments of a call; None if it is anything else."""
    quoted = re.sub(r"((?:^|,)\s*\w+\s*=\s*)([0-9]+[A-Za-z]+)(?=\s*(?:,|$))", r"\1'\2'", source)  # 13a is not a number
    text = f"f({quoted})"
    try:
        call = ast.parse(text, mode="eval").body
        ends = (call.end_lineno, call.end_col_offset) == (1, len(text.encode()))  # and no comment does
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return call if ends and isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else None


def _value(what: str, node: ast.expr) -> Any:
    try:
        return node.id if isinstance(node, ast.Name) else _literal(node)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def _literal(node: ast.expr) -> Any:
    """A number, a quoted word, True, False, None, or a tuple or list of such; ``ast.literal_eval`` knows more."""
    if isinstance(node, ast.Tuple | ast.List):
        parts = [_literal(part) for part in node.elts]
        return parts if isinstance(node, ast.List) else tuple(parts)
    signed = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd)
    bare = node.operand if isinstance(node, ast.UnaryOp) and signed else node
    value: Any = bare.value if isinstance(bare, ast.Constant) else ...
    if type(value) in (int, float):
        if not _is_finite(value):
            raise ValueError(f"a number is {'too long' if isinstance(value, int) else value}; it must be finite")
        return -value if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else value
    if not signed and (value is None or isinstance(value, bool | str)):
        return value
    raise ValueError(f"{_written(node)} is not a plain value; write a number, a word or a tuple")


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer larger than any float
        return False


def _written(node: ast.expr) -> str:
    try:
        return shortened(ast.unparse(node))
    except (RecursionError, MemoryError, ValueError):  # too deep, or too many digits
        return "an option"
