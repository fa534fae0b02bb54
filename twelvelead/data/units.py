"""From ADC units to millivolts, and leads of several sampling frequencies to one.

frequency_hz, signal_mv, leads = to_millivolts(rows, signals, header.frequency_hz, notes)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from . import limits
from .leads import LEADS
from .resampling import resample
from .row_matching import Block
from .signal_lines import Signal, some
from .wfdb_formats import MISSING_ADC

_CHUNK = 2**16  # samples a lead that are converted at once


def to_millivolts(
    blocks: Sequence[Block], frame_hz: float, notes: list[str]
) -> tuple[float, np.ndarray, tuple[str, ...]]:
    """Sampling frequency, signal in millivolts and leads of a recording.

    Millivolts are (ADC units − baseline) / gain in double precision, rounded to float32, as `wfdb.rdrecord` gives them.

    Parameters
    ----------
    blocks : sequence of Block
        ADC units of all signals.
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
    signals = [signal for block in blocks for signal in block.signals]
    per_frame = _common_rate(signals, frame_hz, notes)
    if frame_hz * per_frame > limits.HIGHEST_HZ:
        raise ValueError(f"{frame_hz * per_frame:g} Hz is the sampling frequency of no recording")
    frames = min(block.samples.shape[1] // block.signals[0].samples_per_frame for block in blocks)
    n_samples = frames * per_frame
    if n_samples * len(signals) > limits.VALUES:
        raise ValueError(f"{len(signals)} leads of {n_samples} samples are more than a recording may have")
    converted, has_gaps = zip(*(_in_millivolts(block, frames, per_frame) for block in blocks))
    signal_mv = converted[0] if len(converted) == 1 else np.concatenate(converted)
    written = tuple(signal.lead for signal in signals)
    leads = ordered(written)
    if leads != written:
        chosen = _one_row_for_each_lead(signal_mv, written, notes)
        signal_mv = np.take(signal_mv.T, [chosen[lead] for lead in leads], axis=1).T
    elif not signal_mv.T.flags.c_contiguous:
        signal_mv = np.ascontiguousarray(signal_mv.T).T
    n_missing = np.count_nonzero(np.isnan(signal_mv)) if any(has_gaps) else 0
    if n_missing:
        notes.append(f"{n_missing} of {signal_mv.size} samples are missing")
    return frame_hz * per_frame, signal_mv, leads


@lru_cache(maxsize=1024)
def ordered(leads: tuple[str, ...]) -> tuple[str, ...]:
    """Each lead once: the twelve in standard order, then the others in theirs."""
    rank = {lead: place for place, lead in enumerate(LEADS)}
    return tuple(sorted(dict.fromkeys(leads), key=lambda lead: rank.get(lead, len(LEADS))))


def _one_row_for_each_lead(signal_mv: np.ndarray, leads: Sequence[str], notes: list[str]) -> dict[str, int]:
    """The row of each lead: of several with one name the first that holds a signal, that is, that changes."""
    rows_of: dict[str, list[int]] = {}
    for row, lead in enumerate(leads):
        rows_of.setdefault(lead, []).append(row)
    chosen = {}
    for lead, rows in rows_of.items():
        row = rows[0]
        if len(rows) > 1:
            row = next((row for row in rows if _changes(signal_mv[row])), row)
            which = "the first" if row == rows[0] else "the first that holds a signal"
            notes.append(f"lead {lead} comes more than once: {which} is taken")
        chosen[lead] = row
    return chosen


def _changes(values: np.ndarray) -> bool:
    values = values[~np.isnan(values)]
    return bool(values.size and values.max() > values.min())


def _in_millivolts(block: Block, frames: int, per_frame: int) -> tuple[np.ndarray, bool]:
    """Millivolts of a block, float32 (signals, frames · per_frame), and whether some may be missing.

    Samples that are missing or not finite are NaN.
    """
    stored = block.signals[0].samples_per_frame
    samples = block.samples[:, : frames * stored].T
    pairs = [(signal.gain_per_mv, signal.baseline) for signal in block.signals]
    kinds = set(pairs)
    gain, baseline = np.array(pairs).T if len(kinds) > 1 else np.array(pairs[0])[:, None]
    missing = MISSING_ADC.get(block.signals[0].format, -(2**15))
    out = np.empty(samples.shape, np.float32)
    in_float32 = all(_exact_in_float32(samples.dtype, *kind) for kind in kinds)
    with np.errstate(all="ignore"):  # what is no number becomes NaN below
        for start in range(0, len(samples), _CHUNK):  # double precision takes four times the memory of 16 bits
            stop = start + _CHUNK
            values = out[start:stop] if in_float32 else np.empty(out[start:stop].shape, np.float64)
            values[:] = samples[start:stop]
            if baseline.any():
                values -= baseline.astype(values.dtype)
            values /= gain.astype(values.dtype) if len(kinds) > 1 else values.dtype.type(gain[0])
            if not in_float32:
                out[start:stop] = values
        # A sum and a minimum tell quickly, and without memory, that no sample is lost. What single precision was enough
        # for are integers and a sensible gain, whose quotients are all finite.
        has_gaps = not in_float32 and not math.isfinite(out.sum())
        has_gaps |= any(signal.skew for signal in block.signals)
        if has_gaps:
            out[~np.isfinite(out)] = np.nan
        if missing is not None and not samples.min() > missing:
            out[samples == missing] = np.nan
            has_gaps = True
    for column, signal in enumerate(block.signals):
        skew = signal.skew * stored
        if skew:  # this lead was stored so many samples too late
            out[:-skew, column] = out[skew:, column].copy()
            out[-skew:, column] = np.nan
    if stored == per_frame:
        return out.T, has_gaps
    return np.stack([_at_rate(row, stored, per_frame) for row in out.T]), has_gaps


@lru_cache(maxsize=1024)
def _exact_in_float32(dtype: np.dtype, gain: float, baseline: int) -> bool:
    """Whether (samples − baseline) / gain in single precision is what double precision, rounded, gives.

    It is for samples of at most 16 bits where gain and difference are exact in single precision and the quotient is a
    normal number: a quotient of two such numbers comes out the same if it is first rounded to double precision
    (Figueroa: When is double rounding innocuous?, SIGNUM Newsletter 30, 1995). It takes half the time of reading.
    """
    return (
        dtype.kind in "iu"
        and dtype.itemsize <= 2
        and abs(baseline) < 2**23
        and 1e-30 < abs(gain) < 1e30
        and float(np.float32(gain)) == gain
    )


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
