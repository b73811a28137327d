"""Tiny Shakespeare as text whose words are its characters, for the language models of warmup-length.md.

    python docs/studies/shakespeare_chars.py input.txt shakespeare-chars

The first 90 % of the lines are for training, the next 5 % for validation and the last 5 % for the test. A space becomes
an underscore, and spaces separate the characters. The file is data/tinyshakespeare/input.txt of karpathy/char-rnn.
"""

import sys
from pathlib import Path


def split(text: str) -> dict[str, str]:
    """The content of each file.

    >>> split("to be\\nor not\\n" * 10)["valid"]
    't o _ b e\\n'
    """
    lines = [" ".join(line.replace(" ", "_")) + "\n" for line in text.splitlines()]
    train, valid = int(0.9 * len(lines)), int(0.95 * len(lines))
    parts = {"train": lines[:train], "valid": lines[train:valid], "test": lines[valid:]}
    return {name: "".join(part) for name, part in parts.items()}


def main() -> None:
    source, folder = map(Path, sys.argv[1:])
    folder.mkdir(exist_ok=True)
    for name, content in split(source.read_text()).items():
        (folder / f"{name}.txt").write_text(content)


if __name__ == "__main__":
    main()
