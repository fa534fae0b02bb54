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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ..errors import RecordingError, printable
from ..files import read_bytes
from . import limits
from .comments import read_comments
from .header_fields import DEFAULT_FREQUENCY_HZ, DEFAULT_GAIN, Format, Gain, parse_format, parse_frequency, parse_gain
from .leads import LEADS as LEADS  # callers that read headers take the leads from here
from .leads import Lead, lead_names

_SIGNAL_WITH_BLANKS = re.compile(r"(\S.*?\.\w{3,4})\s+(\d\S*)(?:\s+(.*))?")  # in the name of its file
# up to five integers, which some programs write with a decimal point, then the description
_NUMBERS = re.compile(r"((?:[+-]?\d{1,10}(?:\.0*)?(?:\s+|$)){0,5})(.*)", re.ASCII)
_SEGMENT = re.compile(r"(~|[^\s/\\]+)\s+(\d{1,12})(?!\S)", re.ASCII)
_EXTENSIONS = (".mat", ".hea", ".dat")
_SHOWN = 12  # names that a note lists


class Signal(NamedTuple):
    """One signal line: a lead and how its samples are stored."""

    file: str
    format: str  # WFDB's number of the format, "16", "212", …
    samples_per_frame: int  # the lead's sampling frequency is so many times the header's
    skew: int  # frames by which the lead is stored too late
    byte_offset: int
    gain_per_mv: float  # ADC units in one millivolt, whatever unit the header uses; negative: stored upside down
    baseline: int  # ADC units at 0 mV
    initial: int  # first sample; format 8 stores differences
    checksum: int | None  # sum of all samples modulo 65,536, if the line says
    lead: str  # in standard spelling, or as written where it is none of the twelve

    @property
    def is_null(self) -> bool:
        """Whether the line stands for a signal that is not stored: file `~` or WFDB format 0."""
        return self.file == "~" or self.format == "0"


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
        first = os.path.join(os.path.dirname(path), name + ".hea")
        try:
            return replace(header, signals=parse_header(header_text(first), where=first).signals)
        except RecordingError as error:
            fault = fault or error
    if fault:
        raise fault
    return header


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
        signals = _signal_lines(lines[1:], record.n_leads, where, notes)
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
        text = "\n".join(map(printable, text.split("\n")))
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
    if rest and rest[0].rstrip(".").lower() in ("hz", "khz", "hertz", "sps"):
        written, rest = f"{written} {rest[0]}", rest[1:]
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
    signal = _SIGNAL_WITH_BLANKS.match(lines[1]) if len(lines) > 1 and not _is_usual(lines[1]) else None
    for name in (file_name, os.path.splitext(signal.group(1))[0] if signal else None):
        if name and " " in name.strip() and line.startswith(name):
            extension = next((end for end in _EXTENSIONS if line[len(name) :].lower().startswith(end)), "")
            if line[len(name) + len(extension) :][:1] == " ":
                return name, line[len(name) + len(extension) :].split()
    first, *fields = line.split()
    return first, fields


def _is_usual(signal_line: str) -> bool:
    """Whether the name of the file in a signal line has no blanks: the format follows it."""
    fields = signal_line.split(None, 2)
    return len(fields) > 1 and parse_format(fields[1]) is not None


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
        segments.append((match.group(1), int(match.group(2))))
    if not any(name != "~" for name, _ in segments):
        raise RecordingError(f"{where}: the header announces {n_segments} segments and names {len(segments)}")
    if len(lines) != n_segments:
        notes.append(f"the header announces {n_segments} segments and names {len(lines)}")
    return tuple(segments)


class _Line(NamedTuple):
    """A signal line before its lead's name is understood."""

    file: str
    format: Format
    gain: Gain
    numbers: tuple[int, ...]  # ADC resolution, ADC zero, first sample, checksum, block size, as far as they are given
    description: str


def _signal_lines(lines: list[str], n_leads: int, where: str, notes: list[str]) -> tuple[Signal, ...]:
    if len(lines) > limits.SIGNALS:
        raise RecordingError(f"{where}: more than {limits.SIGNALS} lines for leads are no recording")
    read: list[_Line] = []
    for line in lines:
        signal = _signal_line(line, where)
        if signal is None:
            if len(read) >= n_leads:  # text after the last lead
                break
            raise RecordingError(
                f"{where}: a signal's line must be like 'A0001.mat 16+24 1000/mV 16 0 0 0 0 II', not {line[:60]!r}"
            )
        read.append(signal)
    if len(read) != n_leads:
        notes.append(f"the header announces {n_leads} leads and lists {len(read)}")
    leads = lead_names(tuple(signal.description for signal in read))
    names = [lead.name or f"signal {row + 1}" for row, lead in enumerate(leads)]
    if any(lead.repaired or not lead.known for lead in leads):
        _note_names(read, leads, notes)
    faults: dict[str, list[str]] = {}  # fault of a gain → leads
    for signal, name in zip(read, names):
        for fault in signal.gain.faults:
            faults.setdefault(fault, []).append(name)
    notes.extend(f"{fault} ({some(faulty)})" for fault, faulty in faults.items())
    return tuple(_signal(signal, name, lead.inverted) for signal, name, lead in zip(read, names, leads))


def _signal(line: _Line, lead: str, inverted: bool) -> Signal:
    zero, initial, checksum = line.numbers[1:4] if len(line.numbers) > 3 else (*line.numbers[1:], None, None, None)[:3]
    baseline = zero or 0 if line.gain.baseline is None else line.gain.baseline
    return Signal(
        file=line.file,
        format=line.format.number,
        samples_per_frame=line.format.samples_per_frame,
        skew=line.format.skew,
        byte_offset=line.format.byte_offset,
        gain_per_mv=-line.gain.per_mv if inverted else line.gain.per_mv,
        baseline=baseline,
        initial=initial or 0,
        checksum=checksum,
        lead=lead,
    )


def _note_names(lines: list[_Line], leads: Sequence[Lead], notes: list[str]) -> None:
    """Notes which names were read as standard leads and which are none of the twelve."""
    repaired = [
        f"{line.description!r} as {lead.name}{', turned over' if lead.inverted else ''}"
        for line, lead in zip(lines, leads)
        if lead.repaired
    ]
    unknown = [repr(lead.name) if lead.name else "a signal without a name" for lead in leads if not lead.known]
    if repaired:
        notes.append(f"lead names read: {some(repaired)}")
    if unknown:
        notes.append(f"none of the twelve leads: {some(unknown)}")


def _signal_line(line: str, where: str) -> _Line | None:
    """The fields of `A0001.mat 16+24 1000/mV 16 0 -119 1716 0 II`; None if that is no signal line."""
    fields = line.split(None, 2)
    storage = parse_format(fields[1]) if len(fields) > 1 else None
    if storage is None:
        match = _SIGNAL_WITH_BLANKS.fullmatch(line)
        storage = parse_format(match.group(2)) if match else None
        if match is None or storage is None:
            return None
        fields = [field or "" for field in match.groups()]
    rest = " ".join(fields[2].split()) if len(fields) > 2 else ""
    try:
        parsed = parse_gain(rest)
    except ValueError as error:
        raise RecordingError(f"{where}: {error}; write it as ADC units such as 1000/mV") from None
    if parsed is None:  # WFDB's documented meaning of a line without a gain; what stands here is the description
        gain, end = Gain(DEFAULT_GAIN, None, ("no gain: 200 per mV taken, WFDB's default",)), 0
    else:
        gain, end = parsed
    numbers, description = _NUMBERS.match(rest[end:].strip() if parsed else rest).groups()  # type: ignore[union-attr]
    return _Line(
        fields[0],
        storage,
        gain,
        tuple(int(number.partition(".")[0]) for number in numbers.split()),
        description.strip(),
    )


def some(names: Iterable[str]) -> str:
    """The first of some names, divided by commas, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:60] for name in names[:_SHOWN]) + more


def _integer(field: str) -> int | None:
    """A non-negative integer of at most twelve digits, else None."""
    return int(field) if len(field) <= 12 and field.isascii() and field.isdigit() else None
