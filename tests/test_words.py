"""What a person reads is plain American English, and the first line of a docstring stands alone."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "rectified"
SOURCES = sorted(PACKAGE.rglob("*.py"))
TEMPLATES = sorted(path for path in PACKAGE.rglob("*") if path.name.endswith((".j2", ".css", ".py.txt")))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_UNITS = (
    "bytes?|rows?|steps?|lines?|seconds?|minutes?|nats|columns?|elements?|files?|folders?|histograms?|epochs?|days?"
)
_PER = "parameter|run|step|epoch|row|line|core|GPU|file|group|example|method|round|worker|device|character|class|batch"

# A phrase, as a regular expression, and what to write instead.
WORDS = {
    r"(?<!cannot )\b(?:tell|tells|told|telling)\b": "say, show, report, know; distinguish for tell apart",
    r"\bbeside\b": "next to, in addition to",
    r"\b(?:anew|afresh)\b": "again",
    r"\bwhoever\b": "say who it is",
    r"\bwhatever (?:it|they|is|was)\b": "say what it is",
    r"(?<!any )(?<!each )\bof (?:which|whom|whose)\b": "whose, or two sentences",
    r"\bas (?:it|they) (?:is|are|was|were)\b(?! [a-z])": "unchanged, directly",
    r"\bwhat (?:it|they) (?:is|are) of\b": "say whose it is",
    r"\b(?:is|are|was|were) there already\b": "already exists",
    r"\b(?:is|are|was|were) there twice\b": "appears twice",
    rf"\b(?:{_UNITS}) an? (?:{_PER})\b": "per",
    r"\bone (?:row|line|file|folder|panel|page) an? \w+\b": "one ... per ...",
    r"\b(?:A|ours|theirs|both) less (?:B|ours|theirs)\b": "A - B, A vs B",
    r"(?<!there )\b(?:is|are|was|were) no (?:[A-Z]|csv|list|number|value|text|name|option|study|folder|task|count)": (
        "is not a"
    ),
    r"\b(?:nowhere|anywhere) to be had\b": "cannot be fetched, cannot be found",
    r"\b(?:if|where|when) need be\b": "if needed",
    r"\bfor ever\b": "forever",
    r"\bany more (?:than|of) it\b": "rewrite",
    r"\b(?:written|stays?|kept|left|there|known) whole\b": "intact, completely, atomically",
    r"\bso (?:many|much|few) of (?:it|them)\b": "the number of ...",
    r"\bone's own\b": "your own, a user's own",
    r"\bhow it stands\b|\bhow a study stands\b": "its progress",
    r"\bwhat becomes? of\b|\bwhat became of\b": "how it ended",
    r"\bgo(?:es)? on (?:with|from|where|elsewhere)\b": "continue, resume",
    r"\bin (?:its|their) stead\b": "in its place, instead",
    r"\bmakes? nothing of\b": "ignores",
    r"\bfor a reader\.": "say how it is formatted",
    r"\b(?:writes?|wrote|written) (?:it|that|them) down\b": "record, save",
    r"\bspread normally\b": "normally distributed",
    r"\bby where (?:it is|they are)\b": "by its import path",
    r"\bforgiving\b": "sensitive to, robust to",
    r"\bbegun with by\b|\bboth began with\b": "both start from",
}

# The first line of a docstring is read in a hover, without the code around it.
FIRST_WORDS = {
    r"^(?:That|Those|Of|So many|So|As|Likewise|Its|Their|They|Theirs|Yours|Whose|Whom|It)\b": "name the thing",
    r"^The (?:same|one|ones|other|others|rest)\b(?! \w+ (?:with|without|grid|difference|source))": "name the thing",
    r"^(?:See :\w+:`[^`]+`\.)": "say what it does",
    r"^(?:For(?! each\b)|In|From|With|Within|Over|By|On)\b": "begin with a noun or a verb",
    r"^\W*\w+\W*$": "one word says too little",
}


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Each line of text that a person reads: strings, docstrings and comments of code; all but code in a page."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
                yield from enumerate(node.value.split("\n"), node.lineno)
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string
        return
    fenced = False
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("```"):
            fenced = not fenced
        if not fenced:
            yield number, re.sub(r"`[^`]*`", "``", line)


def found_in(path: Path) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {match[0]!r}: {instead}"
        for number, line in texts_of(path)
        for pattern, instead in WORDS.items()
        for match in re.finditer(pattern, line, re.IGNORECASE if pattern.islower() else 0)
    ]


def first_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The first line of every docstring, and of every string that stands under an attribute."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for child in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
            if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                value = child.value.value
                if isinstance(value, str):
                    yield child.lineno, value.strip().split("\n")[0]


@pytest.mark.parametrize("path", [*SOURCES, *TEMPLATES, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_person_reads_is_plain_english(path: Path) -> None:
    found = found_in(path)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_first_line_of_a_docstring_stands_alone(path: Path) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line!r}: {instead}"
        for number, line in first_lines(path)
        for pattern, instead in FIRST_WORDS.items()
        if re.search(pattern, line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "results are told by test loss",
        "4 bytes a parameter",
        "a folder of which it has two",
        "it is no CSV",
        "runs anew",
    ],
)
def test_a_phrase_of_the_list_is_found(tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_words.ROOT", tmp_path)
    for name, text in (
        ("a.py", f'"""{line.capitalize()}."""\n'),
        ("b.py", f"x = 1  # {line}\n"),
        ("c.md", f"{line}\n"),
    ):
        (tmp_path / name).write_text(text)
        assert len(found_in(tmp_path / name)) == 1, name
    (tmp_path / "d.md").write_text(f"```\n{line}\n```\n`{line}`\n")
    assert not found_in(tmp_path / "d.md"), "code is not prose"


@pytest.mark.parametrize("line", ["Those of the group's step t.", "That of a cell.", "So many of it.", "For a reader."])
def test_a_first_line_that_needs_its_caller_is_found(line: str) -> None:
    assert any(re.search(pattern, line) for pattern in FIRST_WORDS)
