"""Filters of signals (leads, samples): high-pass, band-pass and envelopes. Pure functions of arrays.

Resampling is in data/resampling.py, because reading needs it too.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy import fft

# OpenBLAS computes matrix products with at most this many multiplications in the calling thread, among them all
# products of `resample`. Its threads would gain nothing on such small products and go on spinning for milliseconds
# afterwards, beside the threads of the network: that was measured to double the time of run_model.
SMALL_PRODUCT = 2**18


def high_pass(signal: np.ndarray, frequency_hz: float, from_hz: float) -> np.ndarray:
    """Removes frequencies below about `from_hz`, without a shift in time.

    The cosine transform of the signal is multiplied by a gain that rises from 0 at 0.6 · from_hz to 1 at 1.4 · from_hz
    in the shape of half a cosine wave. That transform continues a signal by its mirror image, so that its ends meet
    without a step. What is removed is a sum of a few slow cosines. A recording shorter than one period of `from_hz`
    only loses its mean.

    Parameters
    ----------
    signal : ndarray, float32, (leads, samples)
    frequency_hz : float
        Sampling frequency.
    from_hz : float

    Returns
    -------
    ndarray, float32, (leads, samples)
    """
    samples = signal.shape[1]
    removed = _slow_share(samples, frequency_hz, from_hz)
    if signal.size * len(removed) <= SMALL_PRODUCT:  # few cosines of a short recording are cheaper as a product
        cosines = _slow_cosines(samples, len(removed))
        slow = cosines.T @ ((removed[:, None] * cosines) @ signal.T)
    else:
        spectrum = fft.dct(signal, axis=1, norm="ortho")[:, : len(removed)]
        slow = fft.idct(spectrum * removed, n=samples, axis=1, norm="ortho").T
    return (signal.T - slow).T


@lru_cache(maxsize=64)
def _slow_share(samples: int, frequency_hz: float, from_hz: float) -> np.ndarray:
    """The share of each of the slowest cosines that is removed, float32 (cosines,); faster cosines are kept whole."""
    if samples < frequency_hz / from_hz:
        return np.ones(1, dtype=np.float32)
    tone_hz = np.arange(math.ceil(1.4 * from_hz * 2 * samples / frequency_hz)) * (frequency_hz / (2 * samples))
    rise = np.clip((tone_hz / from_hz - 0.6) / 0.8, 0, 1)
    return (0.5 + 0.5 * np.cos(np.pi * rise)).astype(np.float32)


@lru_cache(maxsize=16)
def _slow_cosines(samples: int, count: int) -> np.ndarray:
    """The first cosines of the orthonormal DCT-II, float32 (count, samples)."""
    cosines = np.cos(np.pi / samples * np.arange(count)[:, None] * (np.arange(samples)[None, :] + 0.5))
    return (cosines * np.sqrt(np.where(np.arange(count) == 0, 1, 2) / samples)[:, None]).astype(np.float32)


def band_pass(signal: np.ndarray, frequency_hz: float, edges_hz: tuple[float, float], order: int) -> np.ndarray:
    """A digital Butterworth band-pass filter, applied forwards and backwards and so without a shift in time.

    Forwards and backwards, a filter multiplies each frequency by the square of its amplitude response. Here the cosine
    transform of the signal is multiplied by that square. It continues the signal by its mirror image, which needs no
    padding and works for any length. Away from the ends the result is that of scipy's `sosfiltfilt`.

    Parameters
    ----------
    signal : ndarray, float32, (leads, samples)
    frequency_hz : float
        Sampling frequency.
    edges_hz : tuple of float
        Lower and upper edge, where the amplitude falls to a half (to √½ in each direction).
    order : int
        Of the low-pass filter that the band-pass is derived from, as in `scipy.signal.butter`.

    Returns
    -------
    ndarray, float32, (leads, samples)
    """
    samples = signal.shape[1]
    if samples == 0:
        return signal
    gain = _band_gain(samples, frequency_hz, edges_hz, order)
    # Over the first axis of (samples, leads), the order in which the numbers of a prepared signal lie in memory.
    spectrum = fft.dct(signal.T, axis=0, norm="ortho")
    spectrum *= gain[:, None]
    return fft.idct(spectrum, axis=0, norm="ortho", overwrite_x=True).T


@lru_cache(maxsize=16)
def _band_gain(samples: int, frequency_hz: float, edges_hz: tuple[float, float], order: int) -> np.ndarray:
    """The squared amplitude response at the frequency of each cosine, float32 (samples,)."""

    def analog(tone_hz):
        """Frequency of the analog filter from which the bilinear transform makes the digital one."""
        return np.tan(np.pi * tone_hz / frequency_hz)

    low, high = map(analog, edges_hz)
    tone = analog(np.arange(samples) * (frequency_hz / (2 * samples)))
    with np.errstate(divide="ignore", over="ignore"):
        detuned = (tone**2 - low * high) / (tone * (high - low))  # infinite at frequency 0
        return (1 / (1 + detuned ** (2 * order))).astype(np.float32)


def envelopes(
    signal: np.ndarray, frequency_hz: float, bands_hz: tuple[float, ...] = (8.0, 24.0), taper: float = 0.5
) -> np.ndarray:
    """Envelopes of the signal below each frequency: the magnitude of the analytic signal after a low-pass filter.

    The filter multiplies the spectrum by a Tukey window over −band … band: it keeps everything below (1 − taper) ·
    band, nothing above the band, and falls like half a cosine between. (The description says "FFT-filtered, Tukey
    window, α = 0.5". A window over 0 … band would also weaken the low end, which belongs to the band.) The Fourier
    transform continues a signal periodically, so remove an offset first, and expect an error of about one cycle at both
    ends.

    Parameters
    ----------
    signal : float32 (leads, samples)
    bands_hz : upper ends of the bands
    taper : share of the band over which the filter falls off, in (0, 1]; α of the window

    Returns
    -------
    float32 (bands · leads, samples), all leads of the first band, then of the next; non-negative, in the signal's unit.

    References
    ----------
    Nejedly et al., Utilization of Residual CNN-GRU With Attention Mechanism, CinC 2020, paper 32.
    """
    leads, samples = signal.shape
    if samples == 0:
        return np.zeros((len(bands_hz) * leads, 0), dtype=np.float32)
    spectrum = np.fft.rfft(signal, axis=1)
    tone_hz = np.arange(spectrum.shape[1]) * (frequency_hz / samples)
    # the analytic signal has no negative frequencies and the others twice, but for those that are their own mirror
    sided = np.where((tone_hz == 0) | (np.arange(len(tone_hz)) * 2 == samples), 1.0, 2.0)
    out = np.empty((len(bands_hz), leads, samples), dtype=np.float32)
    for band, top_hz in zip(out, bands_hz):
        fall = np.clip((tone_hz / top_hz - (1 - taper)) / taper, 0, 1)
        kept = spectrum * (sided * 0.5 * (1 + np.cos(np.pi * fall)))
        band[:] = np.abs(np.fft.ifft(kept, samples, axis=1))  # filled up with zeros: the negative frequencies
    return out.reshape(-1, samples)
