"""The signal lines of a WFDB header, one for each lead: `A0001.mat 16+24 1000/mV 16 0 -119 1716 0 II`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..errors import RecordingError
from . import limits
from .header_fields import DEFAULT_GAIN, Format, Gain, parse_format, parse_gain
from .leads import Lead, lead_names

_SIGNAL_WITH_BLANKS = re.compile(r"(\S.*?\.\w{3,4})\s+(\d\S*)(?:\s+(.*))?")  # in the name of its file
# up to five integers, which some programs write with a decimal point, then the description
_NUMBERS = re.compile(r"((?:[+-]?\d{1,10}(?:\.0*)?(?:\s+|$)){0,5})(.*)", re.ASCII)
_RESOLUTION = re.compile(r"8|10|12|14|16|18|24|32")  # bits of a sample
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


class _Line(NamedTuple):
    """A signal line before its lead's name is understood."""

    file: str
    format: Format
    gain: Gain
    numbers: tuple[int, ...]  # ADC resolution, ADC zero, first sample, checksum, block size, as far as they are given
    description: str


def read_signal_lines(lines: list[str], n_leads: int, where: str, notes: list[str]) -> tuple[Signal, ...]:
    """The signals of the lines that follow a record line.

    Parameters
    ----------
    lines : list of str
        All lines after the first that are no comments.
    n_leads : int
        How many the record line announces. The lines are believed if there are more or fewer.
    where : str
        What error messages call the header.
    notes : list of str
        Repairs are appended.

    Raises
    ------
    RecordingError
        If a line or its gain cannot be understood, or there are more lines than leads of any recording.
    """
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
        if len(read) >= n_leads and signal.file not in {other.file for other in read}:  # "%Age: 74" looks like a line
            break
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
    gain_per_mv = -line.gain.per_mv if inverted else line.gain.per_mv
    return Signal(line.file, *line.format, gain_per_mv, baseline, initial or 0, checksum, lead)


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
    integers = tuple(map(int, re.sub(r"\.0*", "", numbers).split() if "." in numbers else numbers.split()))
    if len(integers) == 4 and _RESOLUTION.fullmatch(rest[:end]):
        raise RecordingError(
            f"{where}: {rest[:end]} may be a gain or, without a gain, the bits of a sample; write the gain as 1000/mV"
        )
    return _Line(fields[0], storage, gain, integers, description.strip())


def file_with_blanks(line: str) -> str | None:
    """The name of the file in a signal line if it holds blanks, which WFDB does not foresee; else None."""
    fields = line.split(None, 2)
    if len(fields) > 1 and parse_format(fields[1]):
        return None
    match = _SIGNAL_WITH_BLANKS.fullmatch(line)
    return match.group(1) if match else None


def some(names: Iterable[str]) -> str:
    """The first of some names, divided by commas, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:60] for name in names[:_SHOWN]) + more
