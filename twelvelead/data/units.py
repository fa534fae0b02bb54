"""From ADC units to millivolts, and leads of several sampling frequencies to one.

frequency_hz, signal_mv, leads = to_millivolts(rows, signals, header.frequency_hz, notes)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from . import limits
from .header import Signal, some
from .leads import LEADS
from .resampling import resample
from .wfdb_formats import MISSING_ADC


def to_millivolts(
    rows: Sequence[np.ndarray], signals: Sequence[Signal], frame_hz: float, notes: list[str]
) -> tuple[float, np.ndarray, tuple[str, ...]]:
    """Sampling frequency, signal in millivolts and leads of a recording.

    Millivolts are (ADC units − baseline) / gain in double precision, rounded to float32, as `wfdb.rdrecord` gives them.

    Parameters
    ----------
    rows : sequence of ndarray
        ADC units of one signal each.
    signals : sequence of Signal
        One for each row.
    frame_hz : float
        Frames a second; a signal has `samples_per_frame` times as many samples.
    notes : list of str
        Repairs are appended.

    Returns
    -------
    frequency_hz : float
    signal_mv : ndarray, float32, (leads, samples)
        NaN where a sample is missing. The leads of a sample lie together in memory.
    leads : tuple of str
        Each once: the standard leads in standard order, then the others in theirs.

    Raises
    ------
    ValueError
        If it would become more than a recording may be.
    """
    chosen = _one_row_for_each_lead(rows, signals, notes)
    leads = ordered([signals[row].lead for row in chosen])
    chosen.sort(key=lambda row: leads.index(signals[row].lead))
    frames = min(len(rows[row]) // signals[row].samples_per_frame for row in chosen)
    per_frame = _common_rate([signals[row] for row in chosen], frame_hz, notes)
    n_samples = frames * per_frame
    if n_samples * len(chosen) > limits.VALUES:
        raise ValueError(f"{len(chosen)} leads of {n_samples} samples are more than a recording may have")
    signal_mv = np.empty((n_samples, len(chosen)), np.float32).T
    n_missing = 0
    for row, out in zip(chosen, signal_mv):
        signal = signals[row]
        values = _row_in_millivolts(rows[row][: frames * signal.samples_per_frame], signal)
        n_missing += np.count_nonzero(np.isnan(values)) * per_frame // signal.samples_per_frame
        out[:] = _at_rate(values, signal.samples_per_frame, per_frame)
    if n_missing:
        notes.append(f"{n_missing} of {signal_mv.size} samples are missing")
    return frame_hz * per_frame, signal_mv, leads


def ordered(leads: Sequence[str]) -> tuple[str, ...]:
    """Each lead once: the twelve in standard order, then the others in theirs."""
    rank = {lead: place for place, lead in enumerate(LEADS)}
    return tuple(sorted(dict.fromkeys(leads), key=lambda lead: rank.get(lead, len(LEADS))))


def _one_row_for_each_lead(rows: Sequence[np.ndarray], signals: Sequence[Signal], notes: list[str]) -> list[int]:
    """A row for each lead: of several with one name the first that holds a signal, that is, that changes."""
    rows_of: dict[str, list[int]] = {}
    for row, signal in enumerate(signals):
        rows_of.setdefault(signal.lead, []).append(row)
    chosen = []
    for lead, candidates in rows_of.items():
        row = candidates[0]
        if len(candidates) > 1:
            changing = [k for k in candidates if _changes(_row_in_millivolts(rows[k], signals[k]))]
            row = changing[0] if changing else row
            which = "the first" if row == candidates[0] else "the first that holds a signal"
            notes.append(f"lead {lead} comes more than once: {which} is taken")
        chosen.append(row)
    return chosen


def _changes(values: np.ndarray) -> bool:
    values = values[~np.isnan(values)]
    return bool(values.size and values.max() > values.min())


def _row_in_millivolts(samples: np.ndarray, signal: Signal) -> np.ndarray:
    """(samples − baseline) / gain, float32, NaN for missing samples and for what is not finite."""
    with np.errstate(all="ignore"):
        values = ((samples.astype(np.float64) - signal.baseline) / signal.gain_per_mv).astype(np.float32)
    lost = ~np.isfinite(values)
    missing = MISSING_ADC.get(signal.format, -(2**15))
    if missing is not None:
        lost |= samples == missing
    values[lost] = np.nan
    skew = signal.skew * signal.samples_per_frame
    if skew:  # this lead was stored so many samples too late
        values[:-skew] = values[skew:].copy()
        values[-skew:] = np.nan
    return values


def _common_rate(signals: Sequence[Signal], frame_hz: float, notes: list[str]) -> int:
    """Samples a frame that all leads are brought to: the most that a standard lead has."""
    rates = {signal.samples_per_frame for signal in signals}
    if len(rates) == 1:
        return rates.pop()
    common = max((signal.samples_per_frame for signal in signals if signal.lead in LEADS), default=max(rates))
    others = [
        f"{signal.lead} {signal.samples_per_frame * frame_hz:g} Hz"
        for signal in signals
        if signal.samples_per_frame != common
    ]
    notes.append(f"leads of other sampling frequencies were resampled to {common * frame_hz:g} Hz: {some(others)}")
    return common


def _at_rate(values: np.ndarray, per_frame: int, wanted: int) -> np.ndarray:
    """A row with `wanted` samples a frame out of one with `per_frame`; missing samples stay missing."""
    if per_frame == wanted:
        return values
    n_samples = len(values) // per_frame * wanted
    gaps = np.isnan(values)
    if gaps.all():
        return np.full(n_samples, np.nan, np.float32)
    places = np.arange(len(values))
    filled = np.interp(places, places[~gaps], values[~gaps]).astype(np.float32)
    out = resample(filled[np.newaxis], per_frame, wanted)[0]
    out = np.pad(out[:n_samples], (0, max(n_samples - len(out), 0)), mode="edge")
    nearest = np.minimum((np.arange(n_samples) * (per_frame / wanted)).round().astype(int), len(values) - 1)
    out[gaps[nearest]] = np.nan
    return out
