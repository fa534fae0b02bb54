"""Anti-aliased resampling by any ratio. Pure functions of arrays.

signal = resample(signal_mv, 500.0, 125.0)      # (leads, samples)
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np

# The anti-aliasing filter passes frequencies up to 0.8 of the lower of both Nyquist frequencies (50 Hz where the output
# has 125 Hz) within 0.1 %, and weakens those from 1.0 of it on by 60 dB. Its length and shape follow from Kaiser's
# formulas (Oppenheim, Schafer: Discrete-Time Signal Processing, 7.5.3).
PASS, STOP, ATTENUATION_DB = 0.8, 1.0, 60.0


def resample(signal: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Resamples a signal by any ratio, without aliasing.

    A windowed-sinc filter is evaluated at the times of the output. The output is cut into blocks that repeat the same
    phases, so that a part of each block is one matrix product of all leads (ten times as fast here as
    scipy.signal.resample_poly, which the tests compare with). Beyond its ends the signal is continued by its first and
    last value, so that an offset makes no step.

    Parameters
    ----------
    signal : ndarray of numbers, (leads, samples)
    from_hz, to_hz : float
        Sampling frequencies; their ratio is taken as a fraction with a denominator of at most 2000.

    Returns
    -------
    ndarray, float32, (leads, ceil(samples · to_hz / from_hz))

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
        inputs: np.ndarray = np.ndarray(
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
    """How to resample from one frequency to another.

    Returns up and down (of the ratio), the number of inputs and of outputs of a block, how many input samples the
    filter reaches to either side, and the parts of a block. A part is the place of its first input, counted from
    `reach` samples before the block, the place of its first output, and its matrix (outputs, inputs).
    """
    ratio = Fraction(to_hz / from_hz).limit_denominator(2000)
    up, down = (ratio.numerator, ratio.denominator) if ratio.numerator else (1, max(1, round(from_hz / to_hz)))
    nyquist = min(from_hz, to_hz) / 2
    width_hz = (STOP - PASS) * nyquist
    reach = math.ceil((ATTENUATION_DB - 7.95) / (2.285 * 2 * math.pi * width_hz / from_hz) / 2) + 1
    # A part makes as many outputs as lie in a sixth of the filter's length, or in a third of it if a block has several
    # parts: with fewer the number of calls would take most of the time, with more the zeros in the matrices.
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
