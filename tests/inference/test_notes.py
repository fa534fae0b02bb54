"""Repairs are told: each kind once, all of them counted, and every one in a file if asked for."""

from __future__ import annotations

import csv

import pytest

from twelvelead.errors import UserError
from twelvelead.inference.notes import MOST_KINDS, NotesFile, Tally, kind_of


@pytest.mark.parametrize(
    "one,other",
    [
        ("the header says 5000 samples, read were 4990", "the header says 12 samples, read were 7.5"),
        ("the header names 'a.mat' as signal", "the header names 'it''s 5.mat' as signal"),
        ('no gain in "x", 200 is taken', 'no gain in "y z", 200 is taken'),
    ],
)
def test_notes_that_differ_in_numbers_and_quoted_parts_are_of_one_kind(one, other):
    assert kind_of(one) == kind_of(other).replace("……", "…")
    assert kind_of(one) != kind_of("something else")


def test_a_kind_is_told_once_and_counted_to_the_end_and_every_fault_is_told():
    tally = Tally()
    assert tally.summary() == []
    first = tally.add("A1", None, ("3 samples are missing",))
    assert len(first) == 1 and "A1" in first[0] and "3 samples are missing" in first[0]
    assert tally.add("A2", None, ("4 samples are missing",)) == []
    assert len(tally.add("A3", "it is flat", ())) == len(tally.add("A4", "it is flat", ())) == 1
    assert tally.summary() == ["repaired: 2 times: … samples are missing", "2 recordings fell back to sinus rhythm"]


def test_a_fault_names_its_recording_once():
    assert Tally().add("A1", "A1.hea: no signal", ()) == ["fell back to sinus rhythm: A1.hea: no signal"]
    assert Tally().add("A1", "no signal", ()) == ["fell back to sinus rhythm: A1: no signal"]


def test_the_memory_of_a_tally_is_bounded_and_its_lines_are_printable():
    tally = Tally()
    for k in range(3 * MOST_KINDS):
        lines = tally.add("A\x1b", None, (f"lead {'x' * k}\x07 is unknown",))
        assert all(line.isprintable() for line in lines)
    assert len(tally.kinds) <= MOST_KINDS + 1 and sum(tally.kinds.values()) == 3 * MOST_KINDS


def test_every_note_is_a_row_that_a_csv_reader_gives_back(tmp_path):
    file = NotesFile(tmp_path / "notes.csv")
    file.add("A1", ("one, with a comma", 'a "quote"'))
    file.add("sub/Ä2", ("two\nlines",))
    rows = list(csv.reader((tmp_path / "notes.csv").open(encoding="utf-8", newline="")))  # before it is closed
    file.close()
    assert rows == [
        ["recording", "note"],
        ["A1", "one, with a comma"],
        ["A1", 'a "quote"'],
        ["sub/Ä2", "two\\nlines"],
    ]


def test_a_notes_file_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"notes\.csv: the notes cannot be written"):
        NotesFile(tmp_path / "absent" / "notes.csv")
