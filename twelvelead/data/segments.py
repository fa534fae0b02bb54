"""Multi-segment records of WFDB: several records one after another, with gaps, under one header."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import RecordingError
from . import limits
from .header import Header, read_header, segment_header_path
from .units import ordered

ReadSignals = Callable[[Header, str, list[str]], tuple[float, np.ndarray, tuple[str, ...], int]]


def join_segments(
    header: Header, path: str, read_signals: ReadSignals, notes: list[str]
) -> tuple[float, np.ndarray, tuple[str, ...]]:
    """The segments of a record one after another, NaN where a segment lacks a lead, is a gap or cannot be read.

    Parameters
    ----------
    header : Header
        With segments.
    path : str
        Where it lies; the segments' headers lie beside it. Each is read once, however often it is named.
    read_signals : callable
        Reads the signals of one segment: (header, path, notes) → (Hz, millivolts, leads, bytes of files).
    notes : list of str
        Repairs are appended.

    Returns
    -------
    frequency_hz : float
    signal_mv : ndarray, float32, (leads, samples)
    leads : tuple of str

    Raises
    ------
    RecordingError
        If no segment can be read, if segments differ in sampling frequency, or if it would become more than a recording
        may be.
    """
    parts: dict[str, tuple[float, np.ndarray, tuple[str, ...]]] = {}
    n_bytes = 0
    fault: RecordingError | None = None
    for name in dict.fromkeys(name for name, length in header.segments if name != "~" and length):
        try:
            *part, part_bytes = _read_segment(name, path, header, read_signals, notes)
        except RecordingError as error:
            fault = fault or error
            notes.append(f"segment {name} is missing: {error}")
            continue
        parts[name] = tuple(part)  # type: ignore[assignment]  # mypy loses the types of a starred name
        n_bytes += part_bytes
    if not parts:
        raise fault or RecordingError(f"{path}: no segment holds a signal")
    frequencies = {frequency_hz for frequency_hz, _, _ in parts.values()}
    if len(frequencies) > 1:
        raise RecordingError(f"{path}: its segments have different sampling frequencies")
    frequency_hz = frequencies.pop()
    per_frame = round(frequency_hz / header.frequency_hz)
    leads = ordered(tuple(lead for _, _, leads in parts.values() for lead in leads))
    n_samples = sum(length for _, length in header.segments) * per_frame
    if n_samples * len(leads) > limits.most_values(n_bytes):
        raise RecordingError(f"{path}: {n_samples} samples in {len(header.segments)} segments are no recording")
    signal_mv = np.full((n_samples, len(leads)), np.nan, np.float32).T
    start = 0
    for name, length in header.segments:
        stop = start + length * per_frame
        if name in parts and length:
            _, part_mv, part_leads = parts[name]
            part_mv = part_mv[:, : stop - start]
            rows = [leads.index(lead) for lead in part_leads]
            signal_mv[rows, start : start + part_mv.shape[1]] = part_mv
        start = stop
    if header.n_samples and n_samples != header.n_samples * per_frame:
        notes.append(f"the header says {header.n_samples} samples, its segments have {n_samples // per_frame}")
    return frequency_hz, signal_mv, leads


def _read_segment(
    name: str, path: str, header: Header, read_signals: ReadSignals, notes: list[str]
) -> tuple[float, np.ndarray, tuple[str, ...], int]:
    segment_path = segment_header_path(path, name)
    segment = read_header(segment_path)
    if segment.segments or segment.frequency_hz != header.frequency_hz:
        raise RecordingError(f"{path}: segment {name} has segments or a sampling frequency of its own")
    segment_notes: list[str] = []
    read = read_signals(segment, segment_path, segment_notes)
    notes.extend(f"segment {name}: {note}" for note in (*segment.notes, *segment_notes))
    return read
