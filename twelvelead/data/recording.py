"""From a WFDB header and its signal to one `Recording` in millivolts.

    recording = read_recording("A0001.hea")             # recording.signal_mv, float32 (leads, samples)
    recording = recording_from(header_text, signal)     # what the organizers' scripts hand over

What had to be repaired stands in `Recording.notes`; what cannot be read, or could be read in two ways, raises
RecordingError, which names the file and the fault. Headers are read in header.py, signal files in signal_files.py;
units.py turns samples into millivolts, segments.py joins the segments of a record.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import RecordingError, printable
from .header import Header, parse_header, read_header
from .leads import LEADS as LEADS  # callers that read recordings take the leads from here
from .row_matching import Block, match_rows
from .segments import join_segments
from .signal_files import find_signal_file, read_blocks
from .still import mark_still
from .units import to_millivolts


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
        What reading had to repair, a short sentence each, without control characters.
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

    def __post_init__(self) -> None:
        if self.notes:  # they quote files, and end on terminals and in tables
            object.__setattr__(self, "notes", tuple(map(printable, self.notes)))


def read_recording(header_path: str | Path) -> Recording:
    """Reads the recording of a header; its signal lies in the header's folder.

    Raises
    ------
    RecordingError
        If a file is missing or cannot be understood, or holds no samples.
    """
    path = os.fspath(header_path)
    header = read_header(path)
    notes: list[str] = []
    if header.segments:
        frequency_hz, signal_mv, leads = join_segments(header, path, _read_signals, notes)
    else:
        frequency_hz, signal_mv, leads, _ = _read_signals(header, path, notes)
    return _recording(header, frequency_hz, signal_mv, leads, notes)


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
        if np.ma.isMaskedArray(signal):  # what is masked is missing
            signal = np.ma.filled(signal.astype(np.float64), np.nan)
        matrix = np.asarray(signal)
    except ValueError:
        raise RecordingError(f"{parsed.name}: the signal's rows differ in length") from None
    notes: list[str] = []
    blocks = match_rows(matrix, parsed.signals, parsed.n_samples, parsed.name, notes)
    frequency_hz, signal_mv, leads = _in_millivolts(blocks, parsed, parsed.name, notes)
    return _recording(parsed, frequency_hz, signal_mv, leads, notes)


def _read_signals(header: Header, path: str, notes: list[str]) -> tuple[float, np.ndarray, tuple[str, ...], int]:
    """Sampling frequency, millivolts, leads and bytes of files of a header without segments.

    Its signals may lie in several files.
    """
    null = [signal.lead for signal in header.signals if signal.is_null]
    if len(null) == len(header.signals):
        raise RecordingError(f"{path}: the header describes no signal; it needs a line for each lead")
    if null:
        notes.append(f"not stored, by the header: {', '.join(null)}")
    blocks: list[Block] = []
    n_bytes = 0
    files = dict.fromkeys(signal.file for signal in header.signals if not signal.is_null)
    for file in files:
        # one file: null signals may have a row in its matrix
        stored = [signal for signal in header.signals if len(files) == 1 or signal.file == file]
        signal_path, data = find_signal_file(path, file, notes)
        n_bytes += len(data)
        blocks += read_blocks(data, signal_path, stored, header.n_samples, notes)
    return (*_in_millivolts(blocks, header, path, notes), n_bytes)


def _in_millivolts(
    blocks: Sequence[Block], header: Header, where: str, notes: list[str]
) -> tuple[float, np.ndarray, tuple[str, ...]]:
    try:
        frequency_hz, signal_mv, leads = to_millivolts(blocks, header.frequency_hz, notes)
    except ValueError as error:
        raise RecordingError(f"{where}: {error}") from None
    frames = round(signal_mv.shape[1] * header.frequency_hz / frequency_hz)
    if header.n_samples and frames != header.n_samples:
        notes.append(f"the header says {header.n_samples} samples, read were {frames}")
    return frequency_hz, signal_mv, leads


def _recording(
    header: Header, frequency_hz: float, signal_mv: np.ndarray, leads: tuple[str, ...], notes: list[str]
) -> Recording:
    mark_still(signal_mv, leads, frequency_hz, notes)
    return Recording(
        name=header.name,
        signal_mv=signal_mv,
        leads=leads,
        frequency_hz=frequency_hz,
        age_years=header.age_years,
        sex=header.sex,
        codes=header.codes,
        notes=(*header.notes, *notes),
        patient=header.patient,
    )
