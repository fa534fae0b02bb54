"""From a Recording to what a model takes: the one way, for training and for inference.

    prepared = prepare(recording, recipe.input)
    prepared.signal     # float32 (channels, samples) at recipe.input.frequency_hz: 12 leads, then their envelopes if asked for
    prepared.leads      # bool (12,)       False: the lead was missing or flat and could not be derived
    prepared.valid      # bool (samples,)  False: no lead has a value there
    prepared.side       # float32 (7,)     what else is known: see `side_of`

Everything else here is a pure function of arrays (leads, samples). In memory the leads of a sample lie together, as in files,
in the store and in what networks take; arrays that lie otherwise give the same numbers, later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache

import numpy as np
from scipy import fft

from .errors import RecordingError
from .recipes import Input
from .data.header import LEADS
from .data.recording import Recording

# The anti-aliasing filter passes up to 0.8 of the lower Nyquist frequency (50 Hz where the output is 125 Hz) within
# 0.1 % and stops from 1.0 of it by 60 dB: Kaiser's formulas (Oppenheim, Schafer: Discrete-Time Signal Processing, 7.5.3).
PASS, STOP, ATTENUATION_DB = 0.8, 1.0, 60.0
# Multiplications of a matrix product that OpenBLAS does without threads, as all of `resample` are. Its threads would gain
# nothing here, and spin for milliseconds afterwards beside the network's: measured, that doubled the time of run_model.
SMALL_PRODUCT = 2**18
# Keeps a signal with a gain wrong by 1,000 finite in the float16 store: two volts at 0.2 mV a unit.
LARGEST_INPUT = 10_000.0
# The same for a signal in units of its own amplitude: an artefact, not a heart.
LARGEST_OWN = 20.0
# What 16 bits can hold, and filters make of it, by far.
MOST_ADC = 2.0**19
SIDE = 7
# Amplitudes of `amplitude_of` in mV that a heart can have. What is outside is a wrong gain, and tells nothing.
POSSIBLE_MV = (0.08, 8.0)


@dataclass(frozen=True)
class Prepared:
    """A recording as a model takes it; see the module's first lines for shapes."""

    signal: np.ndarray
    leads: np.ndarray
    valid: np.ndarray
    side: np.ndarray = field(default_factory=lambda: np.zeros(SIDE, dtype=np.float32))


def prepare(recording: Recording, recipe: Input) -> Prepared:
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
    unit_mv, most, missing = 1.0, math.inf, None  # of the numbers in `signal`; nothing until they are scaled depends on the unit
    if _is_usual(recording):
        most = MOST_ADC
        signal, present, unit_mv = recording.adc, np.ones(len(LEADS), dtype=bool), 1 / recording.gain_per_mv
    else:
        signal, present, missing = _standard_leads(recording)
        signal, present = derive_limb_leads(signal, present)
        if not present.any():
            raise RecordingError(f"{recording.name}: no lead holds a signal (all are missing, flat or of unknown name)")
    signal = resample(signal, recording.frequency_hz, recipe.frequency_hz)
    valid = np.ones(signal.shape[1], dtype=bool)
    if missing is not None:
        nearest = (np.arange(len(valid)) * (recording.frequency_hz / recipe.frequency_hz)).round().astype(int)
        valid = ~missing[np.minimum(nearest, len(missing) - 1)]
    if recipe.high_pass_hz:
        signal = high_pass(signal, recipe.frequency_hz, recipe.high_pass_hz)
    if recipe.right_arms:
        signal, present = right_arms(signal, present)
    if recipe.centred and valid.any():
        signal -= signal[:, valid].mean(axis=1, keepdims=True)
    scale_mv, largest = recipe.unit_mv, LARGEST_INPUT
    if recipe.own_scale:
        own = signal if present.all() else signal[present]
        scale_mv, largest = amplitude_of(own if missing is None else own[:, valid]) * abs(unit_mv), LARGEST_OWN
    signal *= np.float32(unit_mv / scale_mv)
    if most * abs(unit_mv) > largest * scale_mv:
        signal.clip(-largest, largest, out=signal)
    if recipe.envelopes_hz:
        signal = np.concatenate([signal, envelopes(signal, recipe.frequency_hz, recipe.envelopes_hz)])
    if missing is not None:
        signal[:, ~valid] = 0
    side = side_of(recording.age_years, recording.sex, scale_mv if recipe.own_scale else math.nan)
    return Prepared(signal, present, valid, side)


def side_of(age_years: float, sex: str, amplitude_mv: float = math.nan) -> np.ndarray:
    """What a network may know besides the signal, float32 (7,): unknown values are 0, known ones have a 1 to say so.

    age / 100, age known; female, male, sex known; log10 of the amplitude in mV that the signal was divided by, known.
    An amplitude that no heart has (`POSSIBLE_MV`) comes from a wrong gain and is not known.
    """
    side = np.zeros(SIDE, dtype=np.float32)
    if math.isfinite(age_years):
        side[:2] = age_years / 100, 1
    if sex in ("female", "male"):
        side[2:5] = sex == "female", sex == "male", 1
    if POSSIBLE_MV[0] <= amplitude_mv <= POSSIBLE_MV[1]:  # False for NaN
        side[5:] = math.log10(amplitude_mv), 1
    return side


# Right and left arm electrodes exchanged: I is −I, II and III change places, and so do aVR and aVL. The chest leads, which are
# measured against the mean of the three limbs, stay.
ARMS_SWAPPED = np.eye(len(LEADS), dtype=np.float32)[[0, 2, 1, 4, 3, 5, *range(6, 12)]]
ARMS_SWAPPED[0, 0] = -1
OPPOSITE = -0.5


def right_arms(signal: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Undoes an exchange of the arm electrodes; signal (12, samples) about zero and presence (12,), as they are or set right.

    Leads I and V5, V6 look at the heart from the same side. Where I goes against them (correlation below −0.5), the arms were
    exchanged: so it was in 0.6 % of 4,115 recordings of the Challenge as they are, and in 92 % after an exchange.
    """
    left = signal[10] + signal[11]
    norm = math.sqrt(float(signal[0] @ signal[0]) * float(left @ left))
    if norm == 0 or float(signal[0] @ left) >= OPPOSITE * norm:
        return signal, present
    return ARMS_SWAPPED @ signal, present @ (ARMS_SWAPPED != 0)


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
        spectrum = fft.dct(signal, axis=1, norm="ortho")[:, :len(removed)]
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


def _is_usual(recording: Recording) -> bool:
    """Whether a recording has all twelve leads in ADC units without a gap, and it is quick to say that none is flat."""
    return recording.adc is not None and _none_is_flat(recording.adc)


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


def fill_gaps(lead: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Linear interpolation over the samples marked in `gaps`, the nearest value at the ends, zeros if all are."""
    if gaps.all():
        return np.zeros_like(lead)
    at = np.flatnonzero(~gaps)
    return np.interp(np.arange(len(lead)), at, lead[at]).astype(lead.dtype)


# Limb leads as combinations of I and II: III = II − I, aVR = −(I + II)/2, aVL = I − II/2, aVF = II − I/2.
LIMB = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])


def derive_limb_leads(signal: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fills missing limb leads (the first six rows) from any two that are present; returns signal and presence.

    With fewer than two limb leads nothing can be derived and both come back as they are.
    """
    have = np.flatnonzero(present[:6])
    lost = np.flatnonzero(~present[:6])
    if len(lost) == 0 or len(have) < 2:
        return signal, present
    signal, present = signal.copy(), present.copy()
    pair = have[:2]
    signal[lost] = (LIMB[lost] @ np.linalg.inv(LIMB[pair])).astype(np.float32) @ signal[pair]
    present[lost] = signal[lost].max(axis=1) > signal[lost].min(axis=1)
    signal[lost[~present[lost]]] = 0
    return signal, present


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
    padded[reach:reach + end] = signal[:, :end].T
    padded[reach + end:] = signal[:, -1]
    sample, value = padded.strides
    out = np.empty((blocks, step_out, leads), dtype=np.float32)
    for first_in, first_out, matrix in parts:
        inputs = np.ndarray((blocks, matrix.shape[1], leads), np.float32, padded, first_in * sample,  # overlapping pieces
                            (step_in * sample, sample, value))
        np.matmul(matrix, inputs, out=out[:, first_out:first_out + len(matrix)])
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


def envelopes(signal: np.ndarray, frequency_hz: float, bands_hz: tuple[float, ...] = (8.0, 24.0),
              taper: float = 0.5) -> np.ndarray:
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


def windows_of(samples: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """(start, stop) of pieces of `window` samples that overlap by `overlap`; the last one ends at the end."""
    if samples <= window:
        return [(0, samples)]
    starts = list(range(0, samples - window, window - overlap)) + [samples - window]
    return [(start, start + window) for start in starts]
