"""From a WFDB header and its signal to one `Recording` in millivolts.

    recording = read_recording("A0001.hea")             # recording.signal_mv, float32 (leads, samples)
    recording = recording_from(header_text, signal)     # what the organizers' scripts hand over

Millivolts are (ADC units − baseline) / gain in double precision, as `wfdb.rdrecord` computes them, rounded to float32.
What had to be repaired stands in `Recording.notes`; what cannot be read raises RecordingError, which names the file and
the fault. The header's text is read in header.py, the signal file in signal_files.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RecordingError
from ..files import read_bytes
from .header import LEADS, Header, Signal, parse_header, read_header
from .signal_files import MISSING_ADC, decode_adc

_RANK = {lead: rank for rank, lead in enumerate(LEADS)}
_FILE, _LEAD, _STORAGE = (
    itemgetter(*map(Signal._fields.index, names))
    for names in (["file"], ["lead"], ["gain_per_mv", "baseline", "format", "skew"])
)
# glibc hands large blocks back to the system and has each of their pages zeroed anew, unless it has seen a larger one freed;
# for recordings that took as long as reading and preparing them.
np.empty(2**24, np.uint8)
_MOST_VALUES = 2**30  # of a multi-segment record, whose header alone says how long its gaps are


@dataclass(frozen=True)
class Recording:
    """One ECG recording.

    Attributes
    ----------
    name : str
        Record name without extension.
    signal_mv : ndarray, float32, (leads, samples)
        Millivolts; NaN where a sample is missing. In memory as in files: the leads of a sample lie together.
    leads : tuple of str
        One a row, each once: standard leads in standard order and spelling, then the others as written.
    frequency_hz : float
    age_years : float
        NaN if unknown.
    sex : str
        "female", "male" or "unknown".
    codes : tuple of str
        Diagnoses of #Dx, each once, in their order.
    notes : tuple of str
        What reading had to repair, a short sentence each.
    patient : str or None
        From a header comment, where there is one.
    """

    name: str
    signal_mv: np.ndarray
    leads: tuple[str, ...]
    frequency_hz: float
    age_years: float
    sex: str
    codes: tuple[str, ...]
    notes: tuple[str, ...]
    patient: str | None = None


def read_recording(header_path: str | Path) -> Recording:
    """Reads the recording of a header; its signal lies in the header's folder.

    Raises
    ------
    RecordingError
        If a file is missing or cannot be understood, or holds no samples.
    """
    path = os.fspath(header_path)
    header = read_header(path)
    if header.segments:
        return _joined_segments(header, path)
    return _single(header, path)


def recording_from(header: str | Sequence[str], signal: np.ndarray, name: str | None = None) -> Recording:
    """The recording that the organizers' scripts hand over.

    Parameters
    ----------
    header : str or sequence of str
        The header's text (2021) or its lines (2020).
    signal : ndarray, (leads, samples)
        ADC units of any real type, rows in the order of the header's lines.
    name : str, optional
        By default what the header's first line says.

    Raises
    ------
    RecordingError
        If the header cannot be understood or the signal is no table of numbers.
    """
    try:
        text = header if isinstance(header, str) else "\n".join(header)
    except TypeError:
        raise RecordingError(f"{name or 'header'}: the header must be a text or a list of lines") from None
    parsed = parse_header(text, name)
    try:
        block = _compact(np.asarray(signal))
    except ValueError:
        raise RecordingError(f"{parsed.name}: the signal's rows differ in length") from None
    notes: list[str] = []
    block, signals = _fitted(block, parsed.signals, parsed.name, notes)
    return _recording(parsed, block, signals, notes)


def _single(header: Header, path: str) -> Recording:
    """A recording of one segment, whose signals may lie in several files."""
    if not header.signals:
        raise RecordingError(f"{path}: the header describes no signal; it needs a line for each lead")
    notes: list[str] = []
    blocks, signals = [], []
    files = dict.fromkeys(map(_FILE, header.signals))
    for file in files:
        stored = (
            header.signals if len(files) == 1 else tuple(signal for signal in header.signals if signal.file == file)
        )
        signal_path, data = _signal_file(path, file, notes)
        block, kept = _fitted(
            decode_adc(data, signal_path, stored, header.n_samples, notes), stored, signal_path, notes
        )
        blocks.append(block)
        signals.extend(kept)
    rows = blocks[0] if len(blocks) == 1 else [row for block in blocks for row in block]
    return _recording(header, rows, signals, notes)


def _signal_file(header_path: str, file: str, notes: list[str]) -> tuple[str, bytes]:
    """Path and content of a signal file: the one that the header names or else the one that is called like the header."""
    path = os.path.join(os.path.dirname(header_path), file)
    data = _content(path) if os.path.basename(file) == file else None
    if data is not None:
        return path, data
    path = os.path.splitext(header_path)[0] + os.path.splitext(file)[1]
    data = _content(path)
    if data is None:
        raise RecordingError(f"{header_path}: its signal file {file} is not beside it")
    notes.append(f"the header names {file!r} as signal, read was {os.path.basename(path)!r}")
    return path, data


def _content(path: str) -> bytes | None:
    """All of a signal file, or None if there is none."""
    try:
        return read_bytes(path)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordingError(f"{path}: the signal cannot be read ({error.strerror})") from None


def _joined_segments(header: Header, path: str) -> Recording:
    """A multi-segment record: its segments one after another, NaN where a segment lacks a lead or is a gap."""
    parts, notes, n_samples = [], [], 0
    for name, length in header.segments:
        if name != "~" and length:  # no length: only the layout of the others
            part_path = os.path.join(os.path.dirname(path), name + ".hea")
            part_header = read_header(part_path)
            if part_header.segments or part_header.frequency_hz != header.frequency_hz:
                raise RecordingError(f"{path}: segment {name} has segments or a sampling frequency of its own")
            part = _single(part_header, part_path)
            parts.append((n_samples, length, part))
            notes.extend(f"segment {name}: {note}" for note in part.notes)
        n_samples += length
    leads = _ordered(lead for _, _, part in parts for lead in part.leads)
    if not parts or n_samples * len(leads) > _MOST_VALUES:
        raise RecordingError(f"{path}: {n_samples} samples in {len(parts)} segments are no recording")
    signal_mv = np.full((n_samples, len(leads)), np.nan, np.float32).T
    for start, length, part in parts:
        for row, lead in enumerate(part.leads):
            samples = part.signal_mv[row, :length]
            signal_mv[leads.index(lead), start : start + len(samples)] = samples
    return _described(header, signal_mv, leads, notes)


def _compact(block: np.ndarray) -> np.ndarray:
    """The same numbers as int16 if they fit, as files have them: 2020's script hands over float64."""
    if block.dtype.kind not in "iuf" or block.dtype.itemsize <= 2:
        return block
    with np.errstate(invalid="ignore"):  # NaN is no whole number
        whole = block.astype(np.int16)
    return whole if np.array_equal(whole, block) else block


def _fitted(block: np.ndarray, signals: Sequence[Signal], where: str, notes: list[str]):
    """The block (rows, samples) and the signals of its rows, after settling a disagreement about the number of rows."""
    if block.ndim == 1 and len(signals) == 1:
        block = block[np.newaxis]
    if block.ndim != 2 or block.dtype.kind not in "iuf":
        raise RecordingError(f"{where}: the signal must be numbers (leads, samples), not {block.dtype} {block.shape}")
    if len(signals) == block.shape[1] < block.shape[0]:
        block = block.T
        notes.append("the signal was (samples, leads)")
    rows = min(len(signals), len(block))
    if not rows or not block.shape[1]:
        raise RecordingError(
            f"{where}: the signal is empty: {len(signals)} leads in the header, "
            f"{block.shape[0]} rows and {block.shape[1]} samples in the signal"
        )
    if rows < max(len(signals), len(block)):
        notes.append(f"the header has {len(signals)} leads, the signal {len(block)} rows: read were the first {rows}")
    return block[:rows], signals[:rows]


def _recording(
    header: Header, rows: np.ndarray | list[np.ndarray], signals: Sequence[Signal], notes: list[str]
) -> Recording:
    """Millivolts of the rows of ADC units, one row for each signal, in standard order of the leads."""
    leads, chosen, in_order, again = _order(tuple(map(_LEAD, signals)))
    notes.extend(f"lead {lead} comes more than once: the first is taken" for lead in again)
    if not in_order:
        signals = [signals[row] for row in chosen]
    if isinstance(rows, np.ndarray) and _alike_and_whole(rows, signals):
        block = rows if in_order else rows[list(chosen)]
        gain, baseline = signals[0].gain_per_mv, signals[0].baseline
        return _described(header, _in_millivolts(block, gain, baseline), leads, notes)
    n_missing, n_samples = 0, min(map(len, rows))
    signal_mv = np.empty((n_samples, len(leads)), np.float32).T
    with np.errstate(all="ignore"):  # NaN and overflow are dealt with
        for row, signal, out in zip(chosen, signals, signal_mv):
            n_missing += _to_millivolts(rows[row][:n_samples], signal, out)
    if n_missing:
        notes.append(f"{n_missing} of {signal_mv.size} samples are missing")
    return _described(header, signal_mv, leads, notes)


@lru_cache(maxsize=1024)
def _order(leads: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[int, ...], bool, tuple[str, ...]]:
    """Of the leads of rows: each once in their order, the row of each, whether rows stay as they are, and what comes again."""
    row_of: dict[str, int] = {}
    again = tuple(lead for row, lead in enumerate(leads) if row_of.setdefault(lead, row) != row)
    ordered = _ordered(row_of)
    return ordered, tuple(row_of[lead] for lead in ordered), ordered == leads, again


@lru_cache(maxsize=1024)
def _exact_in_float32(gain: float, baseline: int, dtype: np.dtype) -> bool:
    """Whether (samples − baseline) / gain in float32 is that in float64, rounded.

    A quotient of float32 numbers is the same rounded once or by way of float64, so it is where the difference and the gain
    are exact in float32 (and the quotient is a normal number).
    """
    return (
        dtype.kind in "iu"
        and dtype.itemsize <= 2
        and abs(baseline) < 2**23
        and float(np.float32(gain)) == gain
        and 1e-30 < abs(gain) < 1e30
    )


def _alike_and_whole(block: np.ndarray, signals: Sequence[Signal]) -> bool:
    """Whether all rows of a block are stored in one way, can be converted in float32, and no sample is missing."""
    gain, baseline, form, skew = _STORAGE(signals[0])
    missing = MISSING_ADC.get(form, -(2**15))
    return (
        len(set(map(_STORAGE, signals))) == 1
        and not skew
        and _exact_in_float32(gain, baseline, block.dtype)
        and (missing is None or block.min() > missing)
    )


def _in_millivolts(block: np.ndarray, gain_per_mv: float, baseline: int) -> np.ndarray:
    """Millivolts, float32 (rows, samples), of a block that is `_alike_and_whole`."""
    values = block.T.astype(np.float32, order="C")
    if baseline:
        values -= np.float32(baseline)
    values /= np.float32(gain_per_mv)
    return values.T


def _to_millivolts(samples: np.ndarray, signal: Signal, out: np.ndarray) -> int:
    """Writes (samples − baseline) / gain to `out`, NaN for missing samples, and returns how many are missing."""
    missing = MISSING_ADC.get(signal.format, -(2**15))
    values = samples.astype(
        np.float32 if _exact_in_float32(signal.gain_per_mv, signal.baseline, samples.dtype) else np.float64
    )
    if signal.baseline:
        values -= signal.baseline
    values /= signal.gain_per_mv
    out[:] = values
    lost = ~np.isfinite(out)
    if missing is not None:
        lost |= samples == missing
    n_lost = np.count_nonzero(lost)
    if n_lost:
        out[lost] = np.nan
    skew = signal.skew
    if skew:  # this lead was stored `skew` samples too late
        n_lost += min(skew, len(out)) - np.count_nonzero(lost[:skew])
        out[:-skew] = out[skew:].copy()
        out[-skew:] = np.nan
    return n_lost


def _ordered(leads: Iterable[str]) -> tuple[str, ...]:
    """Each lead once: the twelve in standard order, then the others in theirs."""
    return tuple(sorted(dict.fromkeys(leads), key=lambda lead: _RANK.get(lead, len(LEADS))))


def _described(header: Header, signal_mv: np.ndarray, leads: tuple[str, ...], notes: list[str]) -> Recording:
    return Recording(signal_mv=signal_mv, leads=leads, **_facts(header, signal_mv.shape[1], notes))


def _facts(header: Header, n_samples: int, notes: list[str]) -> dict[str, Any]:
    """What a recording takes from its header."""
    if header.n_samples and n_samples != header.n_samples:
        notes.append(f"the header says {header.n_samples} samples, read were {n_samples}")
    return dict(
        name=header.name,
        frequency_hz=header.frequency_hz,
        age_years=header.age_years,
        sex=header.sex,
        codes=header.codes,
        notes=(*header.notes, *notes),
        patient=header.patient,
    )
