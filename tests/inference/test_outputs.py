"""Every recording has an output file of its own, and whoever reads it finds UTF-8."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvelead.errors import UserError
from twelvelead.inference.outputs import first_line_name, old_outputs, output_names, write_output

DATA = Path("data")


def names_of(*headers: str) -> list[str]:
    return output_names([DATA / header for header in headers], DATA)


@pytest.mark.parametrize(
    "headers,names",
    [
        (["A0001.hea", "A0002.hea"], ["A0001", "A0002"]),
        (["g1/A0001.hea", "g2/A0002.hea"], ["A0001", "A0002"]),
        (["HR001.hea", "Georgia/HR001.hea"], ["HR001", "Georgia/HR001"]),
        (["a/x.hea", "b/x.hea", "b/y.hea"], ["a/x", "b/x", "y"]),
        (["x.hea", "b/X.hea"], ["x", "b/X"]),
        (["v1.2.hea", "b/v1.2.hea"], ["v1.2", "b/v1.2"]),
        (["A.hea", "A/A.hea", "A/B.hea"], ["A", "A/A", "B"]),  # a folder A beside A.csv
    ],
)
def test_outputs_are_flat_unless_a_name_comes_twice(headers, names):
    assert names_of(*headers) == names


@pytest.mark.parametrize(
    "headers",
    [
        ["rec.hea", "REC.hea"],
        ["rec.hea", "rec.HEA"],
        ["a/rec.hea", "A/rec.hea"],
        ["caf\u00e9.hea", "cafe\u0301.hea"],
        ["A.hea", "A.csv/x.hea", "b/x.hea"],  # A.csv is a file and a folder
        ["a.hea", "A.CSV/x.hea", "b/x.hea"],
    ],
)
def test_outputs_that_some_file_system_takes_for_one_are_an_error(headers):
    with pytest.raises(UserError, match="rename one") as error:
        names_of(*headers)
    assert str(error.value).isprintable() and str(DATA) in str(error.value)


@given(st.lists(st.lists(st.sampled_from(["a", "A", "b", "a.csv"]), min_size=1, max_size=3).map(tuple), unique=True))
def test_no_output_overwrites_another_or_is_its_folder(paths):
    headers = [DATA.joinpath(*path[:-1], f"{path[-1]}.hea") for path in paths]
    try:
        files = [f"{name}.csv".lower() for name in output_names(headers, DATA)]
    except UserError:
        return
    assert len(set(files)) == len(headers)
    assert not any(file.startswith(f"{other}/") for file in files for other in files)


@pytest.mark.parametrize("stem", ["A0001", "ä", "a b", "a,b"])
def test_the_first_line_has_the_recordings_name(stem):
    assert first_line_name(stem) == stem


@pytest.mark.parametrize("stem", ["a\nb", "a\rb", "\x1b[2J", os.fsdecode(b"\xff\xfe")])
def test_the_first_line_is_one_line_whatever_the_file_is_called(tmp_path, stem):
    write_output(tmp_path, stem, f"#{first_line_name(stem)}\n")
    lines = (tmp_path / f"{stem}.csv").read_bytes().decode().split("\n")
    assert len(lines) == 2 and lines[0].isprintable()


def test_the_longest_name_that_a_header_can_have_is_written(tmp_path):
    write_output(tmp_path, "x" * 251, "text")
    assert [path.name for path in tmp_path.iterdir()] == ["x" * 251 + ".csv"]


def test_a_link_that_lies_where_a_partial_file_goes_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".A1.csv.part.csv").symlink_to(victim)
    write_output(tmp_path / "out", "A1", "text")
    assert victim.read_text() == "untouched" and (tmp_path / "out" / "A1.csv").read_text() == "text"


def test_a_failed_output_leaves_nothing_behind(tmp_path):
    (tmp_path / "A1.csv").mkdir()
    with pytest.raises(OSError):
        write_output(tmp_path, "A1", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["A1.csv"]


def test_old_outputs_are_the_csv_files_of_no_recording_of_this_run(tmp_path):
    for name in ("A1.csv", "old.csv", "sub/A1.csv", ".hidden.csv", "notes.txt"):
        write_output(tmp_path, name.removesuffix(".csv"), "") if name.endswith(".csv") else (tmp_path / name).touch()
    assert old_outputs(tmp_path, {"A1"}) == ["old.csv", "sub/A1.csv"]
