"""The heart rate of a recording, and the diagnoses that follow from it.

    rate = heart_rate(signal, 125.0)                       # beats a minute, None if there are not three beats
    labels = add_rate_labels(labels, rates, codes)         # sinus rhythm below 60 a minute is sinus bradycardia

Sinus bradycardia and sinus tachycardia are defined by the rate: sinus rhythm below 60 and above 100 a minute. Whether
an annotator writes them down is the custom of the house. In the 4,115 recordings of docs/results.md all 29 sinus
rhythms of CPSC, Chapman-Shaoxing and Ningbo are at 60 or above, and 17 of their 18 bradycardias below; of PTB-XL's 612
sinus rhythms below 60, 69 are also called bradycardia. Thresholds that fit the custom of one hospital fail at the next.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import find_peaks

from ..data.classes import SINUS_RHYTHM

# Code of a diagnosis that sinus rhythm of a rate is, by definition; beats a minute, both limits excluded.
BY_RATE = {"426177001": (0.0, 60.0), "427084000": (100.0, math.inf)}


def heart_rate(signal: np.ndarray, frequency_hz: float) -> float | None:
    """Beats a minute, from the median distance of QRS complexes; for labels, not for run: a rough detector will do.

    QRS complexes are where the signal is steep: the squared slope over 32 ms, summed over the leads and averaged over
    100 ms, has a peak there. Peaks are counted that reach 40 % of its 96th percentile, stand out by 30 % of it, and are
    280 ms apart. Against a detector that filters first (Butterworth, 8 to 25 Hz) 10 of 4,115 recordings differed by
    more than 10 a minute.

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
    step = round(0.032 * frequency_hz)
    if step < 1 or signal.shape[1] <= step:
        return None
    with np.errstate(over="ignore", invalid="ignore"):  # of a broken recording; what comes of it is no limit
        slope = signal[:, step:] - signal[:, :-step]
        energy = np.einsum("ct,ct->t", slope, slope)
    steepness = uniform_filter1d(energy, round(0.1 * frequency_hz))
    place = int(0.96 * (len(steepness) - 1))
    limit = float(np.partition(steepness, place)[place])  # an artefact is steeper than any heart
    if not 0 < limit < math.inf:
        return None
    peaks, _ = find_peaks(
        np.minimum(steepness, limit), height=0.4 * limit, prominence=0.3 * limit, distance=round(0.28 * frequency_hz)
    )
    if len(peaks) < 3:
        return None
    return 60 * frequency_hz / float(np.median(np.diff(peaks)))


def add_rate_labels(labels: np.ndarray, rates: np.ndarray, codes) -> np.ndarray:
    """Labels with sinus bradycardia and tachycardia wherever sinus rhythm is labelled and the rate says so.

    Sinus rhythm stays labelled; nothing is ever taken away. Classes that are not among `codes` are not added.

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
