"""Lines for the terminal show what they hold, and a terminal that is gone costs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twelvelead.terminal import highlighted, printable

ROOT = Path(__file__).resolve().parent.parent


@given(st.text(st.characters(exclude_categories=[])))
def test_whatever_a_text_holds_its_printable_form_is_printable_utf8(text):
    shown = printable(text)
    assert all(letter.isprintable() or unicodedata.category(letter) == "Zs" for letter in shown)
    assert shown.encode() is not None
    assert shown == text or not text.isprintable()


@pytest.mark.parametrize(
    "text,shown",
    [
        ("naïve µV", "naïve µV"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        (Path("a/b"), "a/b"),
    ],
)
def test_control_characters_and_undecodable_bytes_become_escapes(text, shown):
    assert printable(text) == shown


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>&1 | true"])
def test_lines_for_a_stream_that_is_closed_are_dropped_and_land_in_no_file(tmp_path, closed):
    """A program that opens files gets the descriptors of the closed streams, unless they are opened first."""
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from twelvelead.terminal import open_standard_streams, say, warn\n"
        "open_standard_streams()\n"
        "with open('out', 'w') as file:\n"
        "    time.sleep(0.2)\n"
        "    for _ in range(3): say('a line'); warn('\\xb5 line')\n"
        "    file.write('whole')\n"
    )
    line = f"set -o pipefail; '{sys.executable}' -c \"$CODE\" '{ROOT}' {closed}"
    result = subprocess.run(["bash", "-c", line], cwd=tmp_path, env={**os.environ, "CODE": code})
    assert result.returncode == 0
    assert (tmp_path / "out").read_text() == "whole"


@pytest.mark.slow
def test_characters_that_the_locale_lacks_are_printed_as_escapes():
    code = "from twelvelead.terminal import *; open_standard_streams(); say('\\xb5 \\u2603'); warn('\\u2603')"
    own = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=own, capture_output=True)
    assert result.returncode == 0 and result.stdout == b"\\xb5 \\u2603\n" and result.stderr == b"\\u2603\n"


class Stream:
    """A stream that is a terminal or not, or closed."""

    def __init__(self, answer):
        self.answer = answer

    def isatty(self):
        if self.answer is None:
            raise ValueError("I/O operation on closed file")
        return self.answer


@pytest.mark.parametrize(
    "is_terminal, variables, coloured",
    [
        (True, {}, True),
        (True, {"NO_COLOR": ""}, True),  # as no-color.org says, only a value that is not empty counts
        (True, {"NO_COLOR": "1"}, False),
        (True, {"TERM": "dumb"}, False),
        (False, {}, False),
        (None, {}, False),
    ],
)
def test_only_a_terminal_that_wants_colours_gets_them(is_terminal, variables, coloured, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    expected = "\x1b[1;31mtwelvelead\x1b[0m" if coloured else "twelvelead"
    assert highlighted("twelvelead", Stream(is_terminal)) == expected
    assert highlighted("twelvelead", None) == "twelvelead"
