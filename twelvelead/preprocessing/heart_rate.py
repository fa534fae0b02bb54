"""The heart rate of a recording, what else the distances between beats tell, and the diagnoses that follow from it.

    rate = heart_rate(signal, 125.0)                       # beats a minute, None if there are not three beats
    numbers = rr_numbers(qrs_places(signal, 125.0), 125.0)    # float32 (6,): rate, irregularity, early beats
    labels = add_rate_labels(labels, rates, codes)         # sinus rhythm below 60 a minute is sinus bradycardia

Sinus bradycardia is sinus rhythm below 60 beats a minute, and sinus tachycardia above 100. Hospitals differ in whether
they write these diagnoses down. In the 4,115 recordings of docs/results.md all 29 recordings of CPSC, Chapman-Shaoxing
and Ningbo that are labelled sinus rhythm have 60 beats or more, and 17 of their 18 bradycardias have fewer. Of PTB-XL's
612 sinus rhythms below 60 only 69 are also labelled bradycardia. Without a common definition, thresholds that suit the
habits of one hospital fail at the next.
"""

from __future__ import annotations

import math
import statistics
from itertools import pairwise

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

from ..data.classes import SINUS_RHYTHM

# Sinus rhythm with a rate between these limits (beats a minute, both excluded) is by definition the diagnosis of this
# code.
BY_RATE = {"426177001": (0.0, 60.0), "427084000": (100.0, math.inf)}
FEWEST_BEATS = 3  # from which a rate is computed
# Detection of QRS complexes, see `qrs_places`: the times over which the slope is taken and averaged, and how near two
# complexes may be. The limit is the steepness that `STEEPEST_PART` of the samples exceed, of which a complex reaches
# `LEAST_OF_LIMIT`.
SLOPE_S, SMOOTHING_S, LEAST_DISTANCE_S = 0.032, 0.1, 0.28
STEEPEST_PART, LEAST_OF_LIMIT = 0.04, 0.4
# What `rr_numbers` returns. An RR interval is the time between two QRS complexes.
RR_FIELDS = (
    "RR intervals known",
    "4 log2(rate / 75)",
    "4 standard deviation / median",
    "3 (shortest / median - 1)",
    "3 (longest / median - 1)",
    "4 part of early beats",
)
RR_RATE = RR_FIELDS.index("4 log2(rate / 75)")
RATE_FACTOR = 4.0
_FEWEST_INTERVALS = 3  # from which `rr_numbers` are known
_LARGEST = 6.0  # of the numbers, in either direction: a detector that fails must not outweigh all else


def heart_rate(signal: np.ndarray, frequency_hz: float) -> float | None:
    """Beats a minute of a signal, by the detector of `qrs_places`.

    Parameters
    ----------
    signal : float (leads, samples)
        In any unit; leads without a signal are zero.
    frequency_hz : float

    Returns
    -------
    float or None
        None if there are fewer than three complexes, or the sampling is too coarse.
    """
    return rate_of(qrs_places(signal, frequency_hz), frequency_hz)


def rate_of(places: np.ndarray, frequency_hz: float) -> float | None:
    """Beats a minute from the median distance between QRS complexes; None if there are fewer than `FEWEST_BEATS`.

    Parameters
    ----------
    places : int (complexes,)
        The samples at which they are, in ascending order.
    frequency_hz : float
    """
    if len(places) < FEWEST_BEATS:
        return None
    return 60 * frequency_hz / float(np.median(np.diff(places)))


def rr_numbers(places: np.ndarray, frequency_hz: float) -> np.ndarray:
    """What the RR intervals tell of the rhythm, float32 (6,), as `RR_FIELDS` names it; all 0 if there are too few.

    The numbers are scaled so that their spread over recordings is about 1. An early beat comes before 0.88 of the
    median interval and is followed by an interval longer by 15 % or more. Entries of 2020 and 2021 gave their networks
    such features beside the signal (Natarajan et al., CinC 2020, first of that year, among them); a network finds them
    in the signal, too, but needs more recordings for it (docs/laboratory-notes.md).

    Parameters
    ----------
    places : int (complexes,)
        The samples at which the QRS complexes are, in ascending order.
    frequency_hz : float
    """
    numbers = np.zeros(len(RR_FIELDS), dtype=np.float32)
    intervals = (np.diff(places) / frequency_hz).tolist()
    if len(intervals) < _FEWEST_INTERVALS:
        return numbers
    median = statistics.median(intervals)  # of a dozen numbers Python's own functions are faster than numpy's
    relative = [interval / median for interval in intervals]
    mean = sum(relative) / len(relative)
    early = sum(one < 0.88 and following > 1.15 * one for one, following in pairwise(relative))
    numbers[:] = (
        1,
        RATE_FACTOR * math.log2(0.8 / median),
        4 * math.sqrt(sum((one - mean) ** 2 for one in relative) / len(relative)),
        3 * (min(relative) - 1),
        3 * (max(relative) - 1),
        4 * early / (len(relative) - 1),
    )
    return numbers.clip(-_LARGEST, _LARGEST)


def qrs_places(signal: np.ndarray, frequency_hz: float) -> np.ndarray:
    """The places of the QRS complexes.

    The rate completes training labels, the places serve checks of the recording, and `rr_numbers` stand beside the
    signal that a network sees, too. So a simple detector suffices. At a QRS complex the signal is steep: the squared
    slope over 32 ms, summed over the leads and averaged over 100 ms, has a peak. Peaks count if they reach 40 % of the
    96th percentile of that curve, stand out from their surroundings by 30 % of it, and are at least 280 ms apart.
    Compared with a detector that filters first (Butterworth, 8 to 25 Hz), the rate of 10 of 4,115 recordings differed
    by more than 10 beats a minute.

    Parameters
    ----------
    signal : float (leads, samples)
        In any unit; leads without a signal are zero.
    frequency_hz : float

    Returns
    -------
    int64 (complexes,)
        The sample in the middle of each complex, in ascending order; none if the sampling is too coarse.
    """
    step = round(SLOPE_S * frequency_hz)
    if step < 1 or signal.shape[1] <= step:
        return np.zeros(0, dtype=np.int64)
    with np.errstate(over="ignore", invalid="ignore"):  # a broken recording can overflow: `limit` is checked below
        slope = signal[:, step:] - signal[:, :-step]
        energy = np.einsum("ct,ct->t", slope, slope)
    steepness = uniform_filter1d(energy, round(SMOOTHING_S * frequency_hz))
    place = int((1 - STEEPEST_PART) * (len(steepness) - 1))
    limit = float(np.partition(steepness, place)[place])  # an artefact is steeper than any heart
    if not 0 < limit < math.inf:
        return np.zeros(0, dtype=np.int64)
    peaks, _ = find_peaks(
        np.minimum(steepness, limit),
        height=LEAST_OF_LIMIT * limit,
        prominence=0.3 * limit,
        distance=round(LEAST_DISTANCE_S * frequency_hz),
    )
    return peaks + step // 2  # the slope at sample k is that from k to k + step


def add_rate_labels(labels: np.ndarray, rates: np.ndarray, codes) -> np.ndarray:
    """Adds sinus bradycardia and tachycardia to the labels of recordings with sinus rhythm whose rate says so.

    No label is removed: sinus rhythm stays. Classes that are not among `codes` are not added.

    Parameters
    ----------
    labels : bool (recordings, classes)
    rates : float (recordings,)
        Beats a minute; NaN where unknown.
    codes : sequence of str, (classes,)

    Returns
    -------
    bool (recordings, classes)
        A copy.
    """
    labels, codes = np.array(labels, dtype=bool), list(codes)
    if SINUS_RHYTHM not in codes:
        return labels
    sinus = labels[:, codes.index(SINUS_RHYTHM)]
    for code, (above, below) in BY_RATE.items():
        if code in codes:
            labels[:, codes.index(code)] |= sinus & (rates > above) & (rates < below)
    return labels
