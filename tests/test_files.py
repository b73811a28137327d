"""A file is written whole or stays as it was."""

import os

import pytest

from rectified.files import write


def test_text_and_bytes_replace_what_was_there(tmp_path):
    path = tmp_path / "file"
    write(path, "ψ\n")
    assert path.read_bytes() == "ψ\n".encode()
    write(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert list(tmp_path.iterdir()) == [path]


def test_interrupted_nothing_changes_and_nothing_is_left_over(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
