"""Filters of signals (leads, samples): resampling, high-pass, envelopes. Pure functions of arrays."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from scipy import fft

# The anti-aliasing filter passes up to 0.8 of the lower Nyquist frequency (50 Hz where the output is 125 Hz) within
# 0.1 % and stops from 1.0 of it by 60 dB: Kaiser's formulas (Oppenheim, Schafer: Discrete-Time Signal Processing, 7.5.3).
PASS, STOP, ATTENUATION_DB = 0.8, 1.0, 60.0
# Multiplications of a matrix product that OpenBLAS does without threads, as all of `resample` are. Its threads would gain
# nothing here, and spin for milliseconds afterwards beside the network's: measured, that doubled the time of run_model.
SMALL_PRODUCT = 2**18


def high_pass(signal: np.ndarray, frequency_hz: float, from_hz: float) -> np.ndarray:
    """Removes what is slower than about `from_hz` from float32 (leads, samples), without a shift in time.

    The cosine transform of the signal, which takes it to be continued by its mirror image, so that the ends meet, is
    multiplied by half a cosine that rises from 0 at 0.6 · from_hz to 1 at 1.4 · from_hz: what that takes away is a sum of
    a few slow cosines. A recording shorter than a period loses its mean only.
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
    """What part of each of the slowest cosines is removed, float32 (cosines,); of the faster ones none is."""
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


def resample(signal: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Anti-aliased resampling of numbers (leads, samples) by any ratio; float32, ceil(samples · to/from) samples come out.

    A windowed-sinc filter, evaluated at the output's times: the output is cut into blocks that repeat the same phases,
    so that a part of each block is one matrix product of all leads (ten times as fast here as scipy.signal.resample_poly,
    the oracle in the tests). The ends are continued by their last value, so that an offset makes no step.

    Raises
    ------
    ValueError
        If a rate is not a positive number.
    """
    if not (math.isfinite(from_hz) and math.isfinite(to_hz) and from_hz > 0 and to_hz > 0):
        raise ValueError(f"sampling frequencies must be positive numbers, not {from_hz} and {to_hz} Hz")
    leads, samples = signal.shape
    up, down, step_in, step_out, reach, parts = _resampler(float(from_hz), float(to_hz))
    if up == down:
        return np.array(signal.T, dtype=np.float32, order="C").T
    length = math.ceil(samples * up / down)
    blocks = math.ceil(length / step_out)
    padded = np.empty((blocks * step_in + 2 * reach, leads), dtype=np.float32)
    end = min(samples, len(padded) - reach)
    padded[:reach] = signal[:, 0]
    padded[reach : reach + end] = signal[:, :end].T
    padded[reach + end :] = signal[:, -1]
    sample, value = padded.strides
    out = np.empty((blocks, step_out, leads), dtype=np.float32)
    for first_in, first_out, matrix in parts:
        inputs = np.ndarray(
            (blocks, matrix.shape[1], leads),
            np.float32,
            padded,
            first_in * sample,  # overlapping pieces
            (step_in * sample, sample, value),
        )
        np.matmul(matrix, inputs, out=out[:, first_out : first_out + len(matrix)])
    return out.reshape(blocks * step_out, leads)[:length].T


@lru_cache(maxsize=64)
def _resampler(from_hz: float, to_hz: float) -> tuple[int, int, int, int, int, list[tuple[int, int, np.ndarray]]]:
    """up, down, inputs and outputs of a block, the filter's reach in input samples, and the parts of a block.

    A part is its first input, counted from `reach` before the block, its first output, and its matrix (outputs, inputs).
    """
    ratio = Fraction(to_hz / from_hz).limit_denominator(2000)
    up, down = (ratio.numerator, ratio.denominator) if ratio.numerator else (1, max(1, round(from_hz / to_hz)))
    nyquist = min(from_hz, to_hz) / 2
    width_hz = (STOP - PASS) * nyquist
    reach = math.ceil((ATTENUATION_DB - 7.95) / (2.285 * 2 * math.pi * width_hz / from_hz) / 2) + 1
    # outputs of a part: as many as lie in a sixth of the filter, where one part is a block, or else in a third, so that
    # neither calls nor zeros dominate
    wanted = max(1, round((1 / 3 if up == 1 else 2 / 3) * reach * up / down))
    repeats = max(1, wanted // up)
    step_in, step_out = down * repeats, up * repeats
    cutoff = (PASS + STOP) / 2 * nyquist
    beta = 0.1102 * (ATTENUATION_DB - 8.7)
    parts = []
    for outputs in np.array_split(np.arange(step_out), math.ceil(step_out / wanted)):
        centre = outputs * down / up  # in input samples from the block's first
        inputs = np.arange(math.ceil(centre[0]) - reach, math.floor(centre[-1]) + reach + 1)
        distance = inputs[None, :] - centre[:, None]
        inside = np.clip(1 - (distance / reach) ** 2, 0, None)
        matrix = np.sinc(2 * cutoff / from_hz * distance) * np.i0(beta * np.sqrt(inside)) * (inside > 0)
        matrix /= matrix.sum(axis=1, keepdims=True)  # a constant stays what it is
        parts.append((int(inputs[0]) + reach, int(outputs[0]), matrix.astype(np.float32)))
    return up, down, step_in, step_out, reach, parts


def envelopes(
    signal: np.ndarray, frequency_hz: float, bands_hz: tuple[float, ...] = (8.0, 24.0), taper: float = 0.5
) -> np.ndarray:
    """Envelopes of the signal below each frequency: magnitude of the analytic signal of what a filter leaves of it.

    The filter multiplies the spectrum by a Tukey window over −band … band: all below (1 − taper)·band, nothing above
    the band, half a cosine between. (The description says "FFT-filtered, Tukey window, α = 0.5"; over 0 … band it would
    also weaken the low end, which belongs to the band.) The Fourier transform takes the signal for periodic: remove an
    offset first, and expect an error of about a cycle at both ends.

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
