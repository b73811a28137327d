"""A file is written whole or stays as it was."""

import os
import sys
from pathlib import Path

import pytest

from rectified.files import expanded, open_to_append, read, write, write_output


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


def test_a_link_in_its_place_is_replaced_and_not_followed(tmp_path):
    theirs, path = tmp_path / "theirs", tmp_path / "file"
    theirs.write_text("theirs")
    path.symlink_to(theirs)
    write(path, "mine")
    assert (theirs.read_text(), path.read_text(), path.is_symlink()) == ("theirs", "mine", False)


@pytest.mark.skipif(sys.platform == "win32", reason="no O_NOFOLLOW, no pipes with a name")
def test_what_is_no_regular_file_is_neither_read_nor_appended_to_nor_waited_for(tmp_path):
    link, pipe = tmp_path / "link", tmp_path / "pipe"
    (tmp_path / "file").write_text("theirs")
    link.symlink_to(tmp_path / "file")
    os.mkfifo(pipe)
    for path in (link, pipe, tmp_path):
        for refused in (read, open_to_append):
            with pytest.raises(OSError, match=str(path)):
                refused(path)
    assert (tmp_path / "file").read_text() == "theirs"


def test_a_name_may_be_as_long_as_the_system_takes_it(tmp_path):
    for name in ("a" * 255, "\u03c8" * 127):
        write(tmp_path / name, "content")
        assert (tmp_path / name).read_text() == "content"


@pytest.mark.skipif(sys.platform == "win32", reason="no links without rights, no /dev")
def test_a_file_that_the_user_has_named_may_be_their_link_or_a_device(tmp_path):
    mine, link = tmp_path / "mine", tmp_path / "link"
    link.symlink_to(mine)
    for content in ("first", "second"):
        write_output(link, content)
        assert link.is_symlink()
        assert mine.read_text() == content
    write_output(Path("/dev/null"), "content")
    assert not Path("/dev/null").is_file()
    with pytest.raises(IsADirectoryError):
        write_output(tmp_path, "content")


@pytest.mark.parametrize("value", [5, None, b"x", ["x"], True])
def test_what_is_no_path_is_refused(value):
    with pytest.raises(ValueError, match="is no path"):
        expanded(value)
