"""Files are read within bounds, and written whole, flushed, under a name that nobody can plant a link at."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from twelvelead import files
from twelvelead.errors import RecordingError, UserError
from twelvelead.files import read_bytes, replace_file, write_json, write_text

posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX")


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a.csv"
    for text in ("first", "second, ÄÖ\n"):
        write_text(path, text)
        assert path.read_bytes() == text.encode() and os.listdir(tmp_path) == ["a.csv"]
    write_json(path, {"ä": 1})
    assert os.listdir(tmp_path) == ["a.csv"]


def test_the_temporary_file_has_the_extension_and_is_hidden(tmp_path):
    seen = []
    replace_file(tmp_path / "p.png", lambda partial: seen.append(partial) or partial.write_bytes(b"x"))
    assert seen[0].suffix == ".png" and seen[0].name.startswith(".") and seen[0].parent == tmp_path


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_what_fails_leaves_the_old_file_and_no_rubbish(tmp_path, error):
    path = tmp_path / "a.csv"
    write_text(path, "old")

    def write(partial):
        partial.write_text("half")
        raise error

    with pytest.raises(error):
        replace_file(path, write)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.csv"]


def test_a_signal_while_the_file_is_created_leaves_no_empty_one(tmp_path, monkeypatch):
    def interrupted(*arguments):
        os.close(create(*arguments))
        raise KeyboardInterrupt

    create = os.open
    monkeypatch.setattr(files.os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_text(tmp_path / "a.csv", "text")
    assert os.listdir(tmp_path) == []


@posix
def test_a_planted_link_is_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "a.csv"
    victim.write_text("untouched")
    files._partial_path(path).symlink_to(victim)
    write_text(path, "text")
    assert victim.read_text() == "untouched" and path.read_text() == "text" and not path.is_symlink()
    files._partial_path(path).symlink_to(tmp_path / "nowhere")
    write_text(path, "again")
    assert sorted(os.listdir(tmp_path)) == ["a.csv", "victim"]


@posix
def test_what_is_renamed_was_flushed_before_and_its_folder_after(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace

    def flushed(file):
        done.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")
        fsync(file)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", lambda *names: (done.append("rename"), replace(*names)))
    write_text(tmp_path / "a.csv", "text")
    assert done == ["file", "rename", "folder"]
    write_text(tmp_path / "a.csv", "text", flush=False)
    assert done[3:] == ["rename"]


def test_names_as_long_as_a_file_system_allows_can_be_written(tmp_path):
    for name in ("x" * 251 + ".csv", "ä" * 125 + ".csv"):
        write_text(tmp_path / name, "text")
        assert (tmp_path / name).read_text() == "text"
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.slow
def test_texts_are_utf8_in_any_locale(tmp_path):
    code = (
        "import sys, pathlib; from twelvelead.files import write_text; write_text(pathlib.Path(sys.argv[1]), chr(196))"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a")], check=True, env=environment, cwd=Path(__file__).parents[1]
    )
    assert (tmp_path / "a").read_bytes() == "Ä".encode()


@posix
def test_only_regular_files_up_to_a_size_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(OSError, match="Larger than 4 bytes"):
        read_bytes(tmp_path / "a", 4)
    (tmp_path / "zero").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "fifo")
    for name in ("zero", "fifo"):
        with pytest.raises(OSError, match="Not a regular file"):
            read_bytes(tmp_path / name, 100)
    with pytest.raises(IsADirectoryError):
        read_bytes(tmp_path, 100)
    with pytest.raises(FileNotFoundError):
        read_bytes("a\0b", 100)


def test_messages_hold_no_control_characters():
    assert str(RecordingError("a\x1b[2J\nb")) == "a\\x1b[2J\\nb"
    assert str(UserError("a\x1b[2J\nb")) == "a\\x1b[2J\nb"
    assert str(UserError(RecordingError("\udcff"))) == "\\xff"
