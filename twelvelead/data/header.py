"""The text of a WFDB header (.hea): record, signals, and the Challenge's comments (#Age, #Sex, #Dx).

    header = read_header("A0001.hea")
    header.leads, header.frequency_hz, header.n_samples, header.codes

Follows https://physionet.org/physiotools/wag/header-5.htm and, where that leaves a choice, the wfdb package. What had
to be repaired stands in `Header.notes`; a text that is no header raises RecordingError. About 45 µs for twelve leads,
since training reads the labels of 43,101 headers.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ..errors import RecordingError
from ..files import read_bytes

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

DEFAULT_GAIN = 200.0  # per mV; what WFDB takes for a gain that is 0 or missing
DEFAULT_FREQUENCY_HZ = 250.0  # what WFDB takes for a missing sampling frequency
_UNITS_IN_ONE_MV = {"mv": 1.0, "uv": 1e3, "\u00b5v": 1e3, "\u03bcv": 1e3, "nv": 1e6, "v": 1e-3}

_STANDARD = {lead.lower(): lead for lead in LEADS}
_PREFIXED = re.compile(r"(?:lead|ecg)[\s_:-]*(\w+)", re.IGNORECASE)
_FORMAT = re.compile(r"(\d{1,3})(?:x(\d{1,6}))?(?::(\d{1,9}))?(?:\+(\d{1,12}))?", re.ASCII)
_GAIN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)?(?:\(([+-]?\d{1,10})\))?(?:/(\S*))?", re.ASCII)
_NUMBERS = re.compile(r"((?:[+-]?\d{1,10}(?:\s+|$)){0,5})(.*)", re.ASCII)  # up to five integers, then the description
_SEGMENT = re.compile(r"(~|[\w.-]+)\s+(\d{1,12})", re.ASCII)
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:y|yr|yrs|year|years)?\.?", re.IGNORECASE | re.ASCII)
_SEX = {"f": "female", "female": "female", "m": "male", "male": "male"}
_UNKNOWN = {"", "unknown", "nan", "none", "n/a", "na", "?"}
_PATIENT = {"patient", "patient id", "patientid", "subject", "subject id", "subjectid"}


class Signal(NamedTuple):
    """One signal line: a lead and how its samples are stored."""

    file: str
    format: str  # WFDB's number of the format, "16", "212", …
    samples_per_frame: int
    skew: int  # samples by which the lead is stored too late
    byte_offset: int
    gain_per_mv: float  # ADC units in one millivolt, whatever unit the header uses
    baseline: int  # ADC units at 0 mV
    initial: int  # first sample; format 8 stores differences
    lead: str  # in standard spelling, or as written where it is none of the twelve


@dataclass(frozen=True)
class Header:
    """What a header says. `leads`, `gains_per_mv` and `baselines` are in the order of the header's lines.

    `n_samples` is 0 where the header does not say; `segments` are (name, samples) of a multi-segment record.
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
    """Reads a header file; the record is called by the file's name. The leads of a multi-segment record are those of
    its first segment. Raises RecordingError as `parse_header`, or if a file cannot be read.
    """
    path = os.fspath(header_path)
    header = parse_header(header_text(path), os.path.splitext(os.path.basename(path))[0], where=path)
    for name, _ in header.segments:
        if name != "~":
            first = os.path.join(os.path.dirname(path), name + ".hea")
            return replace(header, signals=parse_header(header_text(first), where=first).signals)
    return header


def header_text(header_path: str | Path) -> str:
    """The text of a header in UTF-8 (with or without a byte order mark) or else in Latin-1."""
    try:
        data = read_bytes(header_path)
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
        If the record line or a signal line cannot be understood.
    """
    where = where or name or "header"
    lines, comments = [], []
    for line in text.lstrip("\ufeff").splitlines():
        line = line.strip()
        if line:
            (comments if line[0] == "#" else lines).append(line)
    if not lines:
        raise RecordingError(f"{where}: the header is empty; its first line must give name, leads, frequency, samples")
    notes: list[str] = []
    written_name, segments, n_leads, frequency_hz, n_samples = _record_line(lines[0], where, notes)
    if name and written_name != name:
        notes.append(f"the header calls the record {written_name!r}, its file {name!r}")
    if segments is None:
        signals, segments = _signal_lines(lines[1:], n_leads, where, notes), ()
    else:
        signals, segments = (), _segment_lines(lines[1:], segments, where)
    return Header(
        name or written_name, signals, frequency_hz, n_samples, *_comments(comments, notes), tuple(notes), segments
    )


def _record_line(line: str, where: str, notes: list[str]):
    """Name, number of segments or None, number of leads, frequency, number of samples or 0 of `A0001 12 500 5000 …`."""
    fields = line.split()
    name, slash, segments = fields[0].partition("/")
    if name.lower().endswith((".mat", ".hea", ".dat")):
        name = os.path.splitext(name)[0]
    n_leads = _integer(fields[1]) if len(fields) > 1 else None
    segments = _integer(segments) if slash else None
    if not name or n_leads is None or (slash and segments is None):
        raise RecordingError(f"{where}: the header's first line must be like 'A0001 12 500 5000', not {line[:60]!r}")
    if len(fields) < 3:
        notes.append("no sampling frequency in the header: 250 Hz taken, WFDB's default")
        return name, segments, n_leads, DEFAULT_FREQUENCY_HZ, 0
    try:
        frequency_hz = float(fields[2].partition("/")[0].partition("(")[0])
    except ValueError:
        frequency_hz = math.nan
    if not 1 <= frequency_hz <= 1e6:  # also NaN; any other figure would only do harm when the signal is resampled
        notes.append(f"sampling frequency {fields[2][:20]!r} in the header: 250 Hz taken, WFDB's default")
        frequency_hz = DEFAULT_FREQUENCY_HZ
    return name, segments, n_leads, frequency_hz, (_integer(fields[3]) or 0) if len(fields) > 3 else 0


def _segment_lines(lines: list[str], n_segments: int, where: str) -> tuple[tuple[str, int], ...]:
    segments = []
    for line in lines[:n_segments]:
        match = _SEGMENT.match(line)
        if match is None:
            raise RecordingError(f"{where}: a segment's line must be like 'A0001_01 5000', not {line[:60]!r}")
        segments.append((match.group(1), int(match.group(2))))
    if len(segments) != n_segments or not any(name != "~" for name, _ in segments):
        raise RecordingError(f"{where}: the header announces {n_segments} segments and names {len(segments)}")
    return tuple(segments)


def _signal_lines(lines: list[str], n_leads: int, where: str, notes: list[str]) -> tuple[Signal, ...]:
    signals: list[Signal] = []
    faults: dict[str, list[str]] = {}  # fault of a gain → leads
    for line in lines:
        fields = line.split(None, 3)
        storage = _format(fields[1]) if len(fields) > 1 else None
        if storage is None:
            if len(signals) < n_leads:
                raise RecordingError(
                    f"{where}: a signal's line must be like 'A0001.mat 16+24 1000/mV 16 0 0 0 0 II', not {line[:60]!r}"
                )
            break  # text after the last lead
        gain, rest = _gain(fields[2]) if len(fields) > 2 else None, fields[3] if len(fields) > 3 else ""
        if gain is None:  # what stands in its place is already the description
            gain, rest = _gain(""), line.split(None, 2)[2] if len(fields) > 2 else ""
        gain_per_mv, baseline, gain_faults = gain
        numbers, written = _NUMBERS.match(rest).groups()
        numbers = numbers.split()  # ADC resolution, ADC zero, first sample, checksum, block size
        if baseline is None:
            baseline = int(numbers[1]) if len(numbers) > 1 else 0
        lead = _STANDARD.get(written.strip().lower()) or _other_lead(written.strip(), len(signals), notes)
        for fault in gain_faults:
            faults.setdefault(fault, []).append(lead)
        signals.append(
            Signal(fields[0], *storage, gain_per_mv, baseline, int(numbers[2]) if len(numbers) > 2 else 0, lead)
        )
    if len(signals) != n_leads:
        notes.append(f"the header announces {n_leads} leads and lists {len(signals)}")
    notes.extend(f"{fault} ({', '.join(leads)})" for fault, leads in faults.items())
    return tuple(signals)


@lru_cache(maxsize=1024)
def _format(field: str) -> tuple[str, int, int, int] | None:
    """Format, samples per frame, skew, byte offset of `16x1:0+24`."""
    match = _FORMAT.fullmatch(field)
    if match is None:
        return None
    number, per_frame, skew, offset = match.groups()
    return number, int(per_frame or 1) or 1, int(skew or 0), int(offset or 0)


@lru_cache(maxsize=1024)
def _gain(field: str) -> tuple[float, int | None, tuple[str, ...]] | None:
    """ADC units per mV, baseline or None, and what is wrong, of `1000.0(0)/mV`; None if the field is no gain."""
    match = _GAIN.fullmatch(field)
    if match is None and "/" not in field:
        return None
    number, baseline, unit = match.groups() if match else (None, None, field.rpartition("/")[2])
    gain = float(number) if number else 0.0
    faults = []
    if gain == 0 or math.isinf(gain):
        faults.append(f"gain {field!r} read as WFDB's default of 200")
        gain = DEFAULT_GAIN
    in_one_mv = _UNITS_IN_ONE_MV.get((unit or "mV").lower())
    if in_one_mv is None:
        faults.append(f"unit {unit!r} is no voltage, read as mV")
    return gain * (in_one_mv or 1.0), None if baseline is None else int(baseline), tuple(faults)


def _other_lead(written: str, row: int, notes: list[str]) -> str:
    """The lead behind `Lead II`, `ecg_v1`, with a note; any other name stays as it is written."""
    match = _PREFIXED.fullmatch(written)
    lead = _STANDARD.get(match.group(1).lower()) if match else None
    if lead:
        notes.append(f"lead {written!r} read as {lead}")
        return lead
    notes.append(f"lead {written!r} is none of the twelve" if written else f"signal {row + 1} has no lead name")
    return written or f"signal {row + 1}"


def _comments(comments: list[str], notes: list[str]):
    """Age in years or NaN, sex, codes, patient of the comment lines."""
    values: dict[str, str] = {}
    codes: list[str] = []
    for key, value in map(_comment, comments):
        if key == "dx":
            codes.extend(code.strip() for code in value.split(","))
        else:
            values.setdefault("patient" if key in _PATIENT else key, value)
    age, sex, patient = values.get("age", ""), values.get("sex", ""), values.get("patient", "")
    age_years = math.nan
    if age.lower() not in _UNKNOWN:
        match = _AGE.fullmatch(age)
        if match and float(match.group(1)) <= 130:
            age_years = float(match.group(1))
        else:  # PTB-XL writes 300 for everyone over 89
            notes.append(f"age {age[:20]!r} read as unknown")
    if sex.lower() not in _SEX and sex.lower() not in _UNKNOWN:
        notes.append(f"sex {sex[:20]!r} read as unknown")
    return (
        age_years,
        _SEX.get(sex.lower(), "unknown"),
        tuple(dict.fromkeys(code for code in codes if code.lower() not in _UNKNOWN)),
        None if patient.lower() in _UNKNOWN else patient,
    )


@lru_cache(maxsize=4096)
def _comment(line: str) -> tuple[str, str]:
    """What a comment line is about, and what it says; most lines come again in other headers."""
    key, _, value = line.lstrip("# \t").partition(":")
    return key.strip().lower().replace("_", " "), value.strip()


def _integer(field: str) -> int | None:
    """A non-negative integer of at most twelve digits, else None."""
    return int(field) if len(field) <= 12 and field.isascii() and field.isdigit() else None
