"""From a Recording to what a model takes: the one way, for training and for inference.

    prepared = prepare(recording, recipe.input)
    prepared.signal     # float32 (channels, samples) at recipe.input.frequency_hz: 12 leads, then envelopes if asked
    prepared.leads      # bool (12,)       False: the lead was missing or flat and could not be derived
    prepared.valid      # bool (samples,)  False: no lead has a value there
    prepared.metadata   # float32 (7,)     what else is known: see `metadata_of`; (13,) with RR numbers

In memory the leads of a sample lie together, as in files, in the store and in what networks take. Arrays that lie
otherwise give the same numbers, only more slowly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..data import limits
from ..data.leads import LEADS
from ..data.recording import Recording
from ..data.resampling import resample
from ..errors import RecordingError
from ..recipe import METADATA
from ..recipes import Input
from .filters import band_pass, envelopes, high_pass
from .heart_rate import qrs_places, rr_numbers
from .leads import derive_limb_leads, fill_gaps, undo_arm_reversal

# Largest absolute value of a prepared signal that is divided by a fixed number of millivolts. It keeps a signal whose
# gain is wrong by a factor of 1,000 finite in the float16 store: two volts at 0.2 mV a unit.
LARGEST_INPUT = 10_000.0
# The same for a signal that is divided by its own amplitude or deviation: what is larger is an artefact and not a
# heartbeat.
LARGEST_RELATIVE_INPUT = 20.0
# A lead that varies less than this has no signal left after filtering, and its rounding errors must not be enlarged.
SMALLEST_DEVIATION_MV = 1e-6
_FEW = 512  # every so many samples are compared first
# The range of `amplitude_of` in mV that a heart can have. An amplitude outside it comes from a wrong gain and says
# nothing about the patient.
POSSIBLE_MV = (0.08, 8.0)
# How large each lead usually is, relative to the median over the twelve leads: medians over PTB-XL (folds 1 to 8) of
# the 98th percentiles of the absolute values. Limb leads are smaller than chest leads, so that without chest leads the
# same heart would seem smaller, and its signal would be scaled up.
TYPICAL_AMPLITUDE = np.array([0.89, 0.88, 0.66, 0.81, 0.64, 0.63, 1.11, 1.66, 1.52, 1.51, 1.38, 1.12])


@dataclass(frozen=True)
class Prepared:
    """A recording as a model takes it; see the module's first lines for shapes.

    `further` is the same recording as the other recipes of a joined model take it. It is empty for all other models.
    `beats` are the places of the QRS complexes, int64 (complexes,), if the input has RR numbers, and else None.
    """

    signal: np.ndarray
    leads: np.ndarray
    valid: np.ndarray
    metadata: np.ndarray = field(default_factory=lambda: np.zeros(METADATA, dtype=np.float32))
    further: tuple[Prepared, ...] = ()
    beats: np.ndarray | None = None


def prepare(recording: Recording, spec: Input, *further: Input) -> Prepared:
    """Turns a recording into model input.

    Leads go to standard order. A limb lead that is missing or flat is derived from two others (Einthoven's and
    Goldberger's equations, which are exact). Other missing or flat leads become zeros and are marked so. Missing
    samples are interpolated within their lead; where every lead is missing, the samples are marked invalid and zero.

    Parameters
    ----------
    recording : Recording
        Signal in millivolts, NaN where missing.
    spec : Input
        What the model takes.
    *further : Input
        What the members of a joined model's other recipes take; `Prepared.further` has the recording in these forms.

    Returns
    -------
    Prepared

    Raises
    ------
    RecordingError
        If no standard lead holds a signal (empty, all missing, all flat or no known lead name), or if the recording
        would become longer than any recording is, because its sampling frequency is wrong.
    """
    signal, present, missing = _standard_leads(recording)
    if spec.derive_limb_leads:
        signal, present = derive_limb_leads(signal, present)
    if not present.any():
        raise RecordingError(f"{recording.name}: {_why_no_signal(recording)}")
    signal = _resampled(signal, recording, spec.frequency_hz)
    valid = _valid(missing, signal.shape[1], recording.frequency_hz / spec.frequency_hz)
    if spec.high_pass_hz:
        signal = high_pass(signal, spec.frequency_hz, spec.high_pass_hz)
    if spec.band_pass_hz:
        signal = band_pass(
            signal, spec.frequency_hz, (spec.band_pass_hz[0], spec.band_pass_hz[1]), spec.band_pass_order
        )
    if spec.undo_arm_reversal:
        signal, present = undo_arm_reversal(signal, present)
    if spec.centred and valid.any():
        signal -= signal[:, valid].mean(axis=1, keepdims=True)
    scale_mv, largest = spec.unit_mv, LARGEST_INPUT
    if spec.per_recording_scale:
        with_signal = signal if present.all() else signal[present]
        scale_mv = amplitude_of(with_signal if missing is None else with_signal[:, valid])
        if not present.all():  # what it would be with all leads
            scale_mv *= float(np.median(TYPICAL_AMPLITUDE) / np.median(TYPICAL_AMPLITUDE[present]))
        largest = LARGEST_RELATIVE_INPUT
    if spec.per_lead_scale:
        scale_mv, largest = 1.0, LARGEST_RELATIVE_INPUT
        signal /= deviation_of(signal[:, valid])[:, None]
    signal *= np.float32(1 / scale_mv)
    signal.clip(-largest, largest, out=signal)
    if spec.envelopes_hz:
        signal = np.concatenate([signal, envelopes(signal, spec.frequency_hz, spec.envelopes_hz)])
    if missing is not None:
        signal[:, ~valid] = 0
    metadata = metadata_of(recording.age_years, recording.sex, scale_mv if spec.per_recording_scale else math.nan)
    beats = None
    if spec.rr_numbers:
        beats = qrs_places(signal[: len(LEADS)], spec.frequency_hz)
        metadata = np.concatenate([metadata, rr_numbers(beats, spec.frequency_hz)])
    return Prepared(signal, present, valid, metadata, tuple(prepare(recording, other) for other in further), beats)


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
    """One positive amplitude for a recording (leads, samples).

    The median over the leads of the 98th percentile of each lead's absolute value. QRS complexes reach that percentile,
    and an artefact or one lead that is off moves the median little.
    """
    if signal.size == 0:
        return 1.0
    magnitude = np.ascontiguousarray(np.abs(signal))
    place = 0.98 * (magnitude.shape[1] - 1)  # between two of the sorted values, as in np.percentile
    below, above = int(place), math.ceil(place)
    magnitude.partition((below, above), axis=1)
    reached = magnitude[:, below] + (place - below) * (magnitude[:, above] - magnitude[:, below])
    amplitude = float(np.median(reached)) or float(magnitude.max())
    return amplitude if amplitude > 0 and math.isfinite(1 / amplitude) else 1.0


def deviation_of(signal: np.ndarray) -> np.ndarray:
    """Standard deviation of each lead, float32 (leads,); 1 for a lead without any, such as one that is missing."""
    if signal.shape[1] == 0:
        return np.ones(len(signal), dtype=np.float32)
    deviation = signal.std(axis=1, dtype=np.float64)
    possible = np.isfinite(deviation) & (deviation > SMALLEST_DEVIATION_MV)
    return np.where(possible, deviation, 1.0).astype(np.float32)


def _resampled(signal: np.ndarray, recording: Recording, to_hz: float) -> np.ndarray:
    """The signal at another sampling frequency, unless that makes it longer than any recording is."""
    samples_out = signal.shape[1] * to_hz / recording.frequency_hz
    if samples_out > limits.most_samples_out(signal.shape[1]):
        seconds = signal.shape[1] / recording.frequency_hz
        raise RecordingError(
            f"{recording.name}: {signal.shape[1]} samples at {recording.frequency_hz:g} Hz are {seconds:.0f} s, which "
            "is no recording; the sampling frequency in the header must be wrong"
        )
    return resample(signal, recording.frequency_hz, to_hz)


def _valid(missing: np.ndarray | None, n_samples: int, step: float) -> np.ndarray:
    """Which of `n_samples` samples, `step` samples of the recording apart, are not missing in all leads."""
    if missing is None:
        return np.ones(n_samples, dtype=bool)
    nearest = (np.arange(n_samples) * step).round().astype(int)
    return ~missing[np.minimum(nearest, len(missing) - 1)]


def _why_no_signal(recording: Recording) -> str:
    if not set(recording.leads) & set(LEADS):
        names = ", ".join(map(repr, recording.leads[:12]))
        more = " …" if len(recording.leads) > 12 else ""
        return f"none of its leads is one of the twelve; they are called {names}{more}"
    return "no lead holds a signal (all are missing, flat or of unknown name)"


def _standard_leads(recording: Recording) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """A recording's standard leads, without gaps.

    Returns
    -------
    signal : ndarray, float32, (12, samples)
        Without NaN; a lead that is missing or flat is zero. It may be the recording's own array, so do not write to it.
    present : ndarray, bool, (12,)
        Which leads hold a signal.
    missing : ndarray, bool, (samples,), or None
        Samples that no lead has; None if there are none.
    """
    source = recording.signal_mv
    if source.ndim != 2 or source.shape[1] == 0:
        raise RecordingError(f"{recording.name}: the signal has no samples")
    if recording.leads == LEADS:
        rows = [(place, place) for place in range(len(LEADS))]
        signal = source.astype(np.float32, copy=False)
    else:
        rows = [(place, recording.leads.index(lead)) for place, lead in enumerate(LEADS) if lead in recording.leads]
        signal = np.zeros((source.shape[1], len(LEADS)), dtype=np.float32).T
        for place, row in rows:
            signal[place] = source[row]
    missing = None
    with np.errstate(all="ignore"):
        finite = math.isfinite(np.vdot(signal.T, signal.T))  # one NaN or infinity would make the sum of squares so
    if not finite:
        signal, gaps = signal.copy(), ~np.isfinite(signal)
        with_samples = [place for place, _ in rows if not gaps[place].all()]
        missing = gaps[with_samples].all(axis=0) if with_samples else None
        for place in np.flatnonzero(gaps.any(axis=1)):
            signal[place] = fill_gaps(signal[place], gaps[place])
    present = _changing(signal)
    if not present.all():
        signal = np.where(present[:, None], signal, np.float32(0))  # a flat lead keeps no offset
    return signal, present, missing if missing is not None and missing.any() else None


def _changing(signal: np.ndarray) -> np.ndarray:
    """Which leads of (leads, samples) are not flat, bool (leads,): a few samples tell that of nearly all."""
    changing = (signal[:, ::_FEW] != signal[:, :1]).any(axis=1)
    for lead in np.flatnonzero(~changing):
        changing[lead] = (signal[lead] != signal[lead, 0]).any()
    return changing


def windows_of(samples: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """(start, stop) of pieces of `window` samples that overlap by `overlap`; the last one ends at the end."""
    if samples <= window:
        return [(0, samples)]
    starts = [*range(0, samples - window, window - overlap), samples - window]
    return [(start, start + window) for start in starts]
