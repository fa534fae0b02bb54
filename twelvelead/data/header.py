"""The text of a WFDB header (.hea): record, signals or segments, and comments.

    header = read_header("A0001.hea")
    header.leads, header.frequency_hz, header.n_samples, header.codes

Follows https://physionet.org/physiotools/wag/header-5.htm and, where that leaves a choice, the wfdb package. Fields are
read in header_fields.py, names of leads in leads.py, comments in comments.py. What had to be repaired stands in
`Header.notes`; a text that is no header, or whose meaning would have to be guessed, raises RecordingError.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ..errors import RecordingError, printable
from ..files import read_bytes
from . import limits
from .comments import read_comments
from .header_fields import DEFAULT_FREQUENCY_HZ, is_unit_of_frequency, parse_frequency
from .leads import LEADS as LEADS  # callers that read headers take the leads from here
from .signal_lines import Signal, file_with_blanks, read_signal_lines

_SEGMENT = re.compile(r"(~|[^\s/\\]+)\s+(\d{1,12})(?!\S)", re.ASCII)
_INVISIBLE = dict.fromkeys([0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF])  # letters without width, from web pages
_EXTENSIONS = (".mat", ".hea", ".dat")


@dataclass(frozen=True)
class Header:
    """What a header says. `leads`, `gains_per_mv` and `baselines` are in the order of the header's lines.

    `frequency_hz` and `n_samples` count frames, which for nearly all records are samples; `n_samples` is 0 where the
    header does not say. `segments` are (name, samples) of a multi-segment record.
    """

    name: str
    signals: tuple[Signal, ...]
    frequency_hz: float
    n_samples: int
    age_years: float
    sex: str
    codes: tuple[str, ...]
    patient: str | None
    notes: tuple[str, ...]
    segments: tuple[tuple[str, int], ...] = ()

    @property
    def leads(self) -> tuple[str, ...]:
        return tuple(signal.lead for signal in self.signals)

    @property
    def gains_per_mv(self) -> tuple[float, ...]:
        return tuple(signal.gain_per_mv for signal in self.signals)

    @property
    def baselines(self) -> tuple[int, ...]:
        return tuple(signal.baseline for signal in self.signals)


def read_header(header_path: str | Path) -> Header:
    """Reads a header file; the record is called by the file's name.

    The leads of a multi-segment record are those of its first segment that can be read.

    Raises
    ------
    RecordingError
        As `parse_header`, or if a file cannot be read.
    """
    path = os.fspath(header_path)
    header = parse_header(header_text(path), os.path.splitext(os.path.basename(path))[0], where=path)
    fault: RecordingError | None = None
    for name in dict.fromkeys(name for name, _ in header.segments if name != "~"):
        first = segment_header_path(path, name)
        try:
            return replace(header, signals=parse_header(header_text(first), where=first).signals)
        except RecordingError as error:
            fault = fault or error
    if fault:
        raise fault
    return header


def segment_header_path(header_path: str, name: str) -> str:
    """Where the header of a segment lies: beside that of the record, with its extension in lower or upper case."""
    path = os.path.join(os.path.dirname(header_path), name + ".hea")
    upper = path[:-4] + ".HEA"
    return upper if not os.path.exists(path) and os.path.exists(upper) else path


def header_text(header_path: str | Path) -> str:
    """The text of a header in UTF-8 (with or without a byte order mark), or else in Latin-1.

    Raises
    ------
    RecordingError
        If it cannot be read, is no regular file, or is larger than any header.
    """
    try:
        data = read_bytes(header_path, limits.HEADER_BYTES)
    except OSError as error:
        raise RecordingError(f"{header_path}: the header cannot be read ({error.strerror})") from None
    try:
        return data.decode().removeprefix("\ufeff")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def parse_header(text: str, name: str | None = None, where: str | None = None) -> Header:
    """A header from its text.

    Parameters
    ----------
    text : str
        The whole header.
    name : str, optional
        What the record is called; by default what its first line says.
    where : str, optional
        What error messages call it; by default its name.

    Raises
    ------
    RecordingError
        If the record line or a signal line cannot be understood, or can be understood in two ways.
    """
    if text.count("\n") + text.count("\r") > 2 * limits.LINES:
        raise RecordingError(f"{where or name or 'header'}: more than {limits.LINES} lines are no header")
    lines, comments = split_lines(text)
    where = where or name or (lines[0].split()[0][:60] if lines else "header")
    if max(map(len, lines), default=0) > limits.LINE or len(comments) > limits.COMMENTS:
        raise RecordingError(f"{where}: a line of more than {limits.LINE} characters, or too many comments: no header")
    if not lines:
        raise RecordingError(f"{where}: the header is empty; its first line must give name, leads, frequency, samples")
    notes: list[str] = []
    record = _record_line(lines, name, where, notes)
    if name and record.name != printable(name):
        notes.append(f"the header calls the record {record.name!r}, its file {name!r}")
    signals: tuple[Signal, ...] = ()
    segments: tuple[tuple[str, int], ...] = ()
    if record.n_segments is None:
        signals = read_signal_lines(lines[1:], record.n_leads, where, notes)
    else:
        segments = _segment_lines(lines[1:], record.n_segments, where, notes)
    facts = read_comments(comments, notes)
    return Header(name or record.name, signals, record.frequency_hz, record.n_samples, *facts, tuple(notes), segments)


def split_lines(text: str) -> tuple[list[str], list[str]]:
    """A header's lines that are not empty and its comment lines (with their `#`), without control characters.

    Lines end as in WFDB with a line feed, with or without a carriage return. (Python's `splitlines` would also cut at
    U+0085 and other characters that comments may hold.) A text without any line feed has lines that end with carriage
    returns, as old Macintosh programs write them.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if "\n" not in text:
        text = text.replace("\r", "\n")
    text = text.replace("\t", " ").replace("\r", " ")
    if not text.replace("\n", "").isprintable():
        text = "\n".join(printable(line.rstrip("\0")) for line in text.translate(_INVISIBLE).split("\n"))
    lines: list[str] = []
    comments: list[str] = []
    for line in text.split("\n"):
        line = line.strip()
        if line:
            (comments if line[0] == "#" else lines).append(line)
    return lines, comments


class _Record(NamedTuple):
    """The first line of a header."""

    name: str
    n_segments: int | None
    n_leads: int
    frequency_hz: float
    n_samples: int  # 0 if unknown


def _record_line(lines: list[str], file_name: str | None, where: str, notes: list[str]) -> _Record:
    """Reads `A0001 12 500 5000 …`, name, leads, sampling frequency, samples, or `A0001/3 …` with three segments."""
    name, fields = _split_name(lines, file_name)
    name, slash, segments = name.partition("/")
    if name.lower().endswith(_EXTENSIONS):
        name = os.path.splitext(name)[0]
    n_leads = _integer(fields[0]) if fields else None
    n_segments = _integer(segments) if slash else None
    if not name or n_leads is None or (slash and n_segments is None):
        raise RecordingError(
            f"{where}: the header's first line must be like 'A0001 12 500 5000', not {lines[0][:60]!r}"
        )
    if len(fields) < 2:
        notes.append("no sampling frequency in the header: 250 Hz taken, WFDB's default")
        return _Record(name, n_segments, n_leads, DEFAULT_FREQUENCY_HZ, 0)
    written, rest = fields[1], fields[2:]
    for count in (3, 2, 1):  # "500 samples per second"
        unit = " ".join(rest[:count])
        if is_unit_of_frequency(unit):
            written, rest = f"{written} {unit}", rest[count:]
            break
    try:
        frequency_hz, repaired = parse_frequency(written)
    except ValueError as error:
        raise RecordingError(f"{where}: {error}; write it as a number such as 500") from None
    if repaired:
        notes.append(f"sampling frequency {written[:30]!r} read as {frequency_hz:g} Hz")
    return _Record(name, n_segments, n_leads, frequency_hz, _n_samples(rest[0], notes) if rest else 0)


def _split_name(lines: list[str], file_name: str | None) -> tuple[str, list[str]]:
    """The record's name and the fields that follow it.

    A name may hold blanks, which WFDB does not foresee: if the line begins with the name of the header's file, or with
    that of the signal file in the second line, that is the name.
    """
    line = lines[0]
    signal_file = file_with_blanks(lines[1]) if len(lines) > 1 else None
    for name in (file_name, os.path.splitext(signal_file)[0] if signal_file else None):
        if name and " " in name.strip() and line.startswith(name):
            extension = next((end for end in _EXTENSIONS if line[len(name) :].lower().startswith(end)), "")
            if line[len(name) + len(extension) :][:1] == " ":
                return name, line[len(name) + len(extension) :].split()
    first, *fields = line.split()
    return first, fields


def _n_samples(field: str, notes: list[str]) -> int:
    """The number of samples, or 0 with a note."""
    count = _integer(field.removesuffix(".0"))
    if count is None:
        notes.append(f"number of samples {field[:20]!r} in the header is not understood")
    return count or 0


def _segment_lines(lines: list[str], n_segments: int, where: str, notes: list[str]) -> tuple[tuple[str, int], ...]:
    if n_segments > limits.SEGMENTS:
        raise RecordingError(f"{where}: more than {limits.SEGMENTS} segments are no recording")
    segments = []
    for line in lines[:n_segments]:
        match = _SEGMENT.match(line)
        if match is None:
            raise RecordingError(f"{where}: a segment's line must be like 'A0001_01 5000', not {line[:60]!r}")
        segments.append((re.sub(r"\.hea$", "", match.group(1), flags=re.IGNORECASE), int(match.group(2))))
    if not any(name != "~" for name, _ in segments):
        raise RecordingError(f"{where}: the header announces {n_segments} segments and names {len(segments)}")
    if len(lines) != n_segments:
        notes.append(f"the header announces {n_segments} segments and names {len(lines)}")
    return tuple(segments)


def _integer(field: str) -> int | None:
    """A non-negative integer of at most twelve digits, else None."""
    return int(field) if len(field) <= 12 and field.isascii() and field.isdigit() else None
