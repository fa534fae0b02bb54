"""The recordings of a folder tree: which are found, in which order, and which signals no header names."""

from __future__ import annotations

import os

import made
import pytest

from twelvelead.data.folders import find_recordings, orphan_signals
from twelvelead.errors import UserError


def test_recordings_of_a_tree_are_found_in_natural_order(tmp_path):
    for name in ("g10/a", "g2/b10", "g2/b9", "c", "deep/er/d", ".hidden/e", "g2/.f"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.hea").touch()
        (tmp_path / f"{name}.txt").touch()
    (tmp_path / "g2" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "linked.hea").symlink_to(tmp_path / "c.hea")
    assert [str(path.relative_to(tmp_path)) for path in find_recordings(tmp_path)] == [
        "c.hea",
        os.path.join("deep", "er", "d.hea"),
        os.path.join("g2", "b9.hea"),
        os.path.join("g2", "b10.hea"),
        os.path.join("g10", "a.hea"),
        "linked.hea",
    ]


def test_a_linked_folder_is_searched(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.hea").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert find_recordings(tmp_path / "data") == [tmp_path / "data" / "link" / "a.hea"]


def test_a_missing_or_empty_folder(tmp_path):
    assert find_recordings(tmp_path) == [] == orphan_signals(tmp_path)
    (tmp_path / "file").touch()
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(UserError, match=path.name):
            find_recordings(path)


def test_signals_that_no_header_names_are_orphans(tmp_path):
    made.write_mat(tmp_path / "g1", "A0001", made.adc())
    made.write(tmp_path, "B", "B 1 500 10\nB_1.dat 16 200 16 0 0 0 0 I\n", None)
    for name in ("B_1.dat", "C2.mat", "C10.mat", ".D.mat", "notes.txt", "g1/E.dat"):
        (tmp_path / name).touch()
    assert orphan_signals(tmp_path) == [tmp_path / "C2.mat", tmp_path / "C10.mat", tmp_path / "g1" / "E.dat"]
