"""From a Recording to what a model takes: the one way, for training and for inference.

    prepared = prepare(recording, recipe.input)
    prepared.signal     # float32 (channels, samples) at recipe.input.frequency_hz: 12 leads, then their envelopes if asked for
    prepared.leads      # bool (12,)       False: the lead was missing or flat and could not be derived
    prepared.valid      # bool (samples,)  False: no lead has a value there
    prepared.metadata       # float32 (7,)     what else is known: see `metadata_of`

In memory the leads of a sample lie together, as in files, in the store and in what networks take; arrays that lie otherwise
give the same numbers, later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from ..data.header import LEADS
from ..data.recording import Recording
from ..errors import RecordingError
from ..recipes import Input
from .filters import envelopes, high_pass, resample
from .leads import derive_limb_leads, fill_gaps, undo_arm_reversal

# Keeps a signal with a gain wrong by 1,000 finite in the float16 store: two volts at 0.2 mV a unit.
LARGEST_INPUT = 10_000.0
# The same for a signal in units of its own amplitude: an artefact, not a heart.
LARGEST_OWN = 20.0
METADATA = 7
# Amplitudes of `amplitude_of` in mV that a heart can have. What is outside is a wrong gain, and tells nothing.
POSSIBLE_MV = (0.08, 8.0)


@dataclass(frozen=True)
class Prepared:
    """A recording as a model takes it; see the module's first lines for shapes."""

    signal: np.ndarray
    leads: np.ndarray
    valid: np.ndarray
    metadata: np.ndarray = field(default_factory=lambda: np.zeros(METADATA, dtype=np.float32))


def prepare(recording: Recording, spec: Input) -> Prepared:
    """Turns a recording into model input.

    Leads go to standard order; a limb lead that is missing or flat is derived from two that are there (Einthoven's
    and Goldberger's equations, exact); other missing or flat leads become zeros and are marked so. Missing samples
    are interpolated within their lead; where every lead is missing, the samples are marked invalid and zero.

    Parameters
    ----------
    recording : Recording
        Signal in millivolts, NaN where missing.
    recipe : Input
        What the model takes.

    Returns
    -------
    Prepared

    Raises
    ------
    RecordingError
        If no standard lead holds a signal: empty, all missing, all flat or no known lead name.
    """
    signal, present, missing = _standard_leads(recording)
    signal, present = derive_limb_leads(signal, present)
    if not present.any():
        raise RecordingError(f"{recording.name}: no lead holds a signal (all are missing, flat or of unknown name)")
    signal = resample(signal, recording.frequency_hz, spec.frequency_hz)
    valid = np.ones(signal.shape[1], dtype=bool)
    if missing is not None:
        nearest = (np.arange(len(valid)) * (recording.frequency_hz / spec.frequency_hz)).round().astype(int)
        valid = ~missing[np.minimum(nearest, len(missing) - 1)]
    if spec.high_pass_hz:
        signal = high_pass(signal, spec.frequency_hz, spec.high_pass_hz)
    if spec.undo_arm_reversal:
        signal, present = undo_arm_reversal(signal, present)
    if spec.centred and valid.any():
        signal -= signal[:, valid].mean(axis=1, keepdims=True)
    scale_mv, largest = spec.unit_mv, LARGEST_INPUT
    if spec.per_recording_scale:
        own = signal if present.all() else signal[present]
        scale_mv, largest = amplitude_of(own if missing is None else own[:, valid]), LARGEST_OWN
    signal *= np.float32(1 / scale_mv)
    signal.clip(-largest, largest, out=signal)
    if spec.envelopes_hz:
        signal = np.concatenate([signal, envelopes(signal, spec.frequency_hz, spec.envelopes_hz)])
    if missing is not None:
        signal[:, ~valid] = 0
    metadata = metadata_of(recording.age_years, recording.sex, scale_mv if spec.per_recording_scale else math.nan)
    return Prepared(signal, present, valid, metadata)


def metadata_of(age_years: float, sex: str, amplitude_mv: float = math.nan) -> np.ndarray:
    """What a network may know besides the signal, float32 (7,): unknown values are 0, known ones have a 1 to say so.

    age / 100, age known; female, male, sex known; log10 of the amplitude in mV that the signal was divided by, known.
    An amplitude that no heart has (`POSSIBLE_MV`) comes from a wrong gain and is not known.
    """
    metadata = np.zeros(METADATA, dtype=np.float32)
    if math.isfinite(age_years):
        metadata[:2] = age_years / 100, 1
    if sex in ("female", "male"):
        metadata[2:5] = sex == "female", sex == "male", 1
    if POSSIBLE_MV[0] <= amplitude_mv <= POSSIBLE_MV[1]:  # False for NaN
        metadata[5:] = math.log10(amplitude_mv), 1
    return metadata


def amplitude_of(signal: np.ndarray) -> float:
    """One amplitude for a recording (leads, samples), positive: the median over its leads of each lead's 98th percentile
    of the absolute value, which QRS complexes reach and an artefact or a lead that is off does not move much."""
    if signal.size == 0:
        return 1.0
    magnitude = np.ascontiguousarray(np.abs(signal))
    place = 0.98 * (magnitude.shape[1] - 1)  # between two of the sorted values, as np.percentile has it
    below, above = int(place), math.ceil(place)
    magnitude.partition((below, above), axis=1)
    reached = magnitude[:, below] + (place - below) * (magnitude[:, above] - magnitude[:, below])
    amplitude = float(np.median(reached)) or float(magnitude.max())
    return amplitude if amplitude > 0 and math.isfinite(1 / amplitude) else 1.0


def _none_is_flat(signal: np.ndarray) -> bool:
    """Whether every lead of (leads, samples) changes, as far as that is quick to say; False says nothing."""
    return bool((signal[:, -1] != signal[:, 0]).all() or (signal[:, ::512] != signal[:, :1]).any(axis=1).all())


def _standard_leads(recording: Recording) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Signal float32 (12, samples) without NaN, leads that hold a signal (12,), samples that no lead has (or None)."""
    source = recording.signal_mv
    if source.ndim != 2 or source.shape[1] == 0:
        raise RecordingError(f"{recording.name}: the signal has no samples")
    rows = _rows(recording.leads)
    if recording.leads == LEADS:
        signal = source.astype(np.float32, copy=False)  # copied before anything is written to it
    else:
        signal = np.zeros((source.shape[1], len(LEADS)), dtype=np.float32).T
        for k, row in rows:
            signal[k] = source[row]
    with np.errstate(over="ignore", invalid="ignore"):
        whole = np.isfinite(signal.max() - signal.min()) and _none_is_flat(signal)
    if whole:  # quick to say, and mostly so
        return signal, np.ones(len(LEADS), dtype=bool), None
    missing = None
    low, high = signal.min(axis=1), signal.max(axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):  # NaN and infinity show in them
        signal, gaps = signal.copy(), ~np.isfinite(signal)
        there = [k for k, _ in rows if not gaps[k].all()]
        missing = gaps[there].all(axis=0) if there else None
        for k in np.flatnonzero(gaps.any(axis=1)):
            signal[k] = fill_gaps(signal[k], gaps[k])
        low, high = signal.min(axis=1), signal.max(axis=1)
    present = high > low
    if not present.all():
        signal = np.where(present[:, None], signal, np.float32(0))  # a flat lead keeps no offset
    return signal, present, missing if missing is not None and missing.any() else None


@lru_cache(maxsize=256)
def _rows(leads: tuple[str, ...]) -> list[tuple[int, int]]:
    """For each standard lead that is there, its place among the standard leads and among these."""
    return [(k, leads.index(lead)) for k, lead in enumerate(LEADS) if lead in leads]


def windows_of(samples: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """(start, stop) of pieces of `window` samples that overlap by `overlap`; the last one ends at the end."""
    if samples <= window:
        return [(0, samples)]
    starts = list(range(0, samples - window, window - overlap)) + [samples - window]
    return [(start, start + window) for start in starts]
