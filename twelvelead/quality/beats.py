"""The average heartbeat of a recording, in which P wave, QRS complex and T wave stand out of the noise.

view = view_of(recording)               # the twelve leads at 250 Hz without their slow components
beat = average_beat(view)               # float32 (12, samples), or None without three beats
wave_sizes(beat, P)                     # float64 (12,): the signed size of the P wave in each lead
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data.leads import LEADS
from ..data.recording import Recording
from ..data.resampling import resample
from ..preprocessing.filters import high_pass
from ..preprocessing.heart_rate import FEWEST_BEATS, qrs_places
from ..preprocessing.leads import fill_gaps

FREQUENCY_HZ = 250.0
SLOWEST_HZ = 0.5
# A beat is cut out of the recording from 320 ms before the middle of its QRS complex to 480 ms after it.
BEFORE_S, AFTER_S = 0.32, 0.48
LONGEST_S = 60.0  # of a longer recording the first minute is looked at

# Where the waves of the average beat are, in seconds from the middle of the QRS complex.
P, QRS, T = (-0.26, -0.08), (-0.06, 0.06), (0.12, 0.42)


@dataclass(frozen=True)
class View:
    """A recording as the quality checks look at it.

    Attributes
    ----------
    signal_mv : float32 (12, samples)
        Standard order, 250 Hz, without content below 0.5 Hz; zero where a lead is missing or flat.
    present : bool (12,)
        Which leads hold a signal.
    known : float64 (12,)
        The share of each lead's samples that are not missing.
    extent : float64 (12,)
        The share of the recording from the first to the last sample at which a lead changes.
    places : int64 (beats,)
        The middles of the QRS complexes.
    """

    signal_mv: np.ndarray
    present: np.ndarray
    known: np.ndarray
    extent: np.ndarray
    places: np.ndarray


def view_of(recording: Recording) -> View:
    """The first minute of a recording's standard leads as the checks need them. The recording may have any leads."""
    last = min(recording.signal_mv.shape[1], round(LONGEST_S * recording.frequency_hz))
    signal = np.zeros((last, len(LEADS)), dtype=np.float32).T
    known, extent = np.zeros(len(LEADS)), np.zeros(len(LEADS))
    for place, lead in enumerate(LEADS):
        if lead in recording.leads:
            row = recording.signal_mv[recording.leads.index(lead), :last]
            gaps = ~np.isfinite(row)
            known[place] = 1 - gaps.mean() if last else 0
            signal[place] = fill_gaps(row, gaps) if gaps.any() else row
            changes = np.flatnonzero(np.diff(signal[place]))
            extent[place] = (changes[-1] - changes[0] + 1) / last if len(changes) else 0
    present = signal.max(axis=1, initial=-np.inf) > signal.min(axis=1, initial=np.inf)
    signal[~present] = 0
    if present.any():
        signal = high_pass(resample(signal, recording.frequency_hz, FREQUENCY_HZ), FREQUENCY_HZ, SLOWEST_HZ)
    places = qrs_places(signal, FREQUENCY_HZ) if present.any() else np.zeros(0, dtype=np.int64)
    return View(signal, present, known, extent, places)


def average_beat(view: View) -> np.ndarray | None:
    """The median of all beats that lie whole in the recording.

    Returns
    -------
    float32 (12, 200) in millivolts, or None if there are fewer than three beats
        Each lead is relative to its value just before the QRS complex (80 to 60 ms before its middle).
    """
    before, after = round(BEFORE_S * FREQUENCY_HZ), round(AFTER_S * FREQUENCY_HZ)
    places = view.places[(view.places >= before) & (view.places + after <= view.signal_mv.shape[1])]
    if len(places) < FEWEST_BEATS:
        return None
    beat = np.median(np.stack([view.signal_mv[:, place - before : place + after] for place in places]), axis=0)
    return beat - beat[:, _samples(-0.08, -0.06)].mean(axis=1, keepdims=True)


def wave_sizes(beat: np.ndarray, wave: tuple[float, float]) -> np.ndarray:
    """The signed size of a wave in each lead, float64 (leads,), in millivolts.

    The largest positive plus the largest negative deflection from the straight line between the ends of the stretch in
    which the wave lies: positive if the wave mainly points up.

    Parameters
    ----------
    beat : float (leads, samples)
        See `average_beat`.
    wave : (float, float)
        `P`, `QRS` or `T`.
    """
    stretch = beat[:, _samples(*wave)].astype(np.float64)
    share = np.linspace(0, 1, stretch.shape[1])
    stretch = stretch - (stretch[:, :1] * (1 - share) + stretch[:, -1:] * share)
    return stretch.max(axis=1) + stretch.min(axis=1)


def _samples(first_s: float, last_s: float) -> slice:
    return slice(round((BEFORE_S + first_s) * FREQUENCY_HZ), round((BEFORE_S + last_s) * FREQUENCY_HZ))
