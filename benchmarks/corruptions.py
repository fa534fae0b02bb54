"""Named corruptions of recordings, as other hospitals would have made them: the rows of robustness.py's table.

    copy = corrupted(recording, "muscle", seed=0)      # CORRUPTIONS lists the names; the recording stays as it is

Random numbers depend on the seed and on the names of the corruption and the recording only, so every model sees the
same copy.

Noise arises at nine electrodes and reaches the leads as differences of their potentials, so Einthoven's law holds for
it. Its strength is one for all kinds: 10 dB below the recording, where a power is the variance of each lead, averaged
over the standard leads that hold a signal. So the stronger the recording's own wander, the stronger the noise. Noise
above half of the sampling frequency is left out, as an amplifier filters it out before sampling.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial

import numpy as np
import repository  # noqa: F401 (makes the package importable)
from scipy.signal import firwin, resample_poly

from twelvelead.data.header import LEADS
from twelvelead.data.recording import Recording
from twelvelead.preprocessing.leads import fill_gaps
from twelvelead.synthetic.heart import TWELVE
from twelvelead.synthetic.recorder import FROM_ELECTRODES

SNR_DB = 10.0
CHEST = LEADS[6:]
OF_ELECTRODES = TWELVE @ FROM_ELECTRODES  # twelve leads from the potentials of two arms, a leg and the chest
# Lead sets of the Challenge of 2021.
SUBSETS = {12: LEADS, 6: LEADS[:6], 4: ("I", "II", "III", "V2"), 3: ("I", "II", "V2"), 2: ("I", "II")}


@dataclass(frozen=True)
class Corruption:
    """One row of the table.

    Attributes
    ----------
    title : str
        The corruption in words.
    limit : float or None
        The largest loss of the metric against the clean copy that is accepted.
    apply : callable
        (recording, numpy Generator) → Recording
    """

    title: str
    limit: float | None
    apply: Callable[[Recording, np.random.Generator], Recording]


def corrupted(recording: Recording, name: str, seed: int = 0) -> Recording:
    """The copy of a recording with a corruption of CORRUPTIONS."""
    rng = np.random.default_rng((seed, zlib.crc32(f"{name} {recording.name}".encode())))
    return CORRUPTIONS[name].apply(recording, rng)


# ---------------------------------------------------------------------------------------------- amplitude, rate, length


def scaled(recording: Recording, rng: np.random.Generator, factor: float) -> Recording:
    """Millivolts times `factor`, as by a wrong gain in the header."""
    return replace(recording, signal_mv=recording.signal_mv * np.float32(factor))


def at_rate(recording: Recording, rng: np.random.Generator, rate_hz: int) -> Recording:
    """Resampled by scipy's polyphase filter, independent of the resampler under test. Missing samples stay missing."""
    ratio = Fraction(rate_hz / recording.frequency_hz).limit_denominator(1000)
    if ratio == 1:
        return recording
    gaps = ~np.isfinite(recording.signal_mv)
    whole = np.stack([fill_gaps(*lead) for lead in zip(recording.signal_mv, gaps)]).astype(np.float64)
    up, down = ratio.numerator, ratio.denominator
    signal = resample_poly(whole, up, down, axis=1, window=_low_pass(max(up, down)), padtype="edge").astype(np.float32)
    nearest = np.minimum(np.rint(np.arange(signal.shape[1]) * (down / up)).astype(int), gaps.shape[1] - 1)
    signal[gaps[:, nearest]] = np.nan
    return replace(recording, signal_mv=signal, frequency_hz=float(rate_hz))


@lru_cache(maxsize=16)
def _low_pass(slower: int) -> np.ndarray:
    """Passes up to 0.84 of the lower Nyquist frequency, stops from 0.96 of it by 80 dB; `slower`: the larger factor."""
    return firwin(80 * slower + 1, 0.9 / slower, window=("kaiser", 8.0))


def cropped(recording: Recording, rng: np.random.Generator, seconds: float) -> Recording:
    """A random piece of this length; a shorter recording stays whole."""
    samples = round(seconds * recording.frequency_hz)
    start = rng.integers(max(recording.signal_mv.shape[1] - samples, 0) + 1)
    return replace(recording, signal_mv=recording.signal_mv[:, start : start + samples])


# ---------------------------------------------------------------------------------------------------------------- noise


def with_noise(
    recording: Recording,
    rng: np.random.Generator,
    potentials: Callable[[int, float, np.random.Generator], np.ndarray],
) -> Recording:
    """Noise added to the leads that hold a signal, SNR_DB below them.

    Parameters
    ----------
    potentials : callable
        (samples, frequency_hz, rng) → noise at the nine electrodes, float64 (9, samples), of any strength.
    """
    rows = _holding(recording, LEADS)
    noise = potentials(recording.signal_mv.shape[1], recording.frequency_hz, rng)
    noise = OF_ELECTRODES[[LEADS.index(recording.leads[row]) for row in rows]] @ noise
    noise -= noise.mean(axis=1, keepdims=True)
    if not noise.any():
        return recording
    power = np.nanvar(recording.signal_mv[rows], axis=1, dtype=np.float64).mean()
    noise *= np.sqrt(power / 10 ** (SNR_DB / 10) / noise.var(axis=1).mean())
    signal = recording.signal_mv.copy()
    signal[rows] += noise.astype(np.float32)
    return replace(recording, signal_mv=signal)


def hum(samples: int, frequency_hz: float, rng: np.random.Generator, mains_hz: float) -> np.ndarray:
    return _tones(samples, frequency_hz, rng, np.array([mains_hz]))


def wander(samples: int, frequency_hz: float, rng: np.random.Generator) -> np.ndarray:
    """Five slow waves of random frequencies, the same in all electrodes but for amplitude and phase."""
    return _tones(samples, frequency_hz, rng, rng.uniform(0.1, 0.4, 5))


def _tones(samples: int, frequency_hz: float, rng: np.random.Generator, tones_hz: np.ndarray) -> np.ndarray:
    """Waves of random amplitude and phase at each electrode; nothing from the Nyquist frequency on."""
    turns = 2j * np.pi * tones_hz[tones_hz < frequency_hz / 2, None] * (np.arange(samples) / frequency_hz)
    size = rng.standard_normal((9, len(turns))) + 1j * rng.standard_normal((9, len(turns)))
    return (size @ np.exp(turns)).real


def muscle(samples: int, frequency_hz: float, rng: np.random.Generator) -> np.ndarray:
    """White Gaussian noise from 20 to 120 Hz, or to the Nyquist frequency if that is lower."""
    spectrum = np.fft.rfft(rng.standard_normal((9, samples)), axis=1)
    tone_hz = np.fft.rfftfreq(samples, 1 / frequency_hz)
    spectrum[:, (tone_hz < 20) | (tone_hz > 120)] = 0
    return np.fft.irfft(spectrum, samples, axis=1)


# ---------------------------------------------------------------------------------------------------------------- leads


def arms_swapped(recording: Recording, rng: np.random.Generator) -> Recording:
    """Right and left arm electrodes exchanged: I turns over, II and III change names, and so do aVR and aVL.

    The chest leads, measured against the mean of the three limbs, stay.
    """
    other = {"II": "III", "III": "II", "aVR": "aVL", "aVL": "aVR"}
    rows = {
        other.get(lead, lead): -samples if lead == "I" else samples
        for lead, samples in zip(recording.leads, recording.signal_mv)
    }
    leads = sorted(rows, key=lambda lead: LEADS.index(lead) if lead in LEADS else len(LEADS))
    return replace(recording, leads=tuple(leads), signal_mv=np.stack([rows[lead] for lead in leads]))


def one_flat(recording: Recording, rng: np.random.Generator) -> Recording:
    """One of the standard leads that hold a signal is 0 throughout."""
    signal = recording.signal_mv.copy()
    signal[rng.permutation(_holding(recording, LEADS))[:1]] = 0
    return replace(recording, signal_mv=signal)


def two_missing(recording: Recording, rng: np.random.Generator) -> Recording:
    """Two of the chest leads that hold a signal are not in the recording."""
    lost = rng.permutation(_holding(recording, CHEST))[:2]
    return _of_rows(recording, [row for row in range(len(recording.leads)) if row not in lost])


def only(recording: Recording, rng: np.random.Generator, leads: tuple[str, ...]) -> Recording:
    """The leads that are among `leads`."""
    return _of_rows(recording, [row for row, lead in enumerate(recording.leads) if lead in leads])


def _of_rows(recording: Recording, rows: list[int]) -> Recording:
    return replace(recording, leads=tuple(recording.leads[row] for row in rows), signal_mv=recording.signal_mv[rows])


def _holding(recording: Recording, leads: tuple[str, ...]) -> np.ndarray:
    """Rows of those of `leads` that hold a signal: neither flat nor missing throughout."""
    highest, lowest = np.fmax.reduce(recording.signal_mv, axis=1), np.fmin.reduce(recording.signal_mv, axis=1)
    return np.flatnonzero([lead in leads for lead in recording.leads] & (highest > lowest))


# ---------------------------------------------------------------------------------------------------------------- table


CLEAN = "clean"
CORRUPTIONS = {CLEAN: Corruption("clean copy", None, lambda recording, rng: recording)}
for _factor in (0.2, 4.88, 1000, 0.001):
    CORRUPTIONS[f"amplitude-{_factor:g}"] = Corruption(
        f"amplitudes × {_factor:g}", 0.02, partial(scaled, factor=_factor)
    )
for _rate in (100, 200, 250, 257, 300, 400, 500, 1000):
    CORRUPTIONS[f"rate-{_rate}"] = Corruption(f"resampled to {_rate} Hz", 0.02, partial(at_rate, rate_hz=_rate))
for _mains in (50, 60):
    CORRUPTIONS[f"hum-{_mains}"] = Corruption(
        f"{_mains} Hz hum, {SNR_DB:g} dB", 0.05, partial(with_noise, potentials=partial(hum, mains_hz=_mains))
    )
CORRUPTIONS |= {
    "wander": Corruption(
        f"baseline wander of 0.1 to 0.4 Hz, {SNR_DB:g} dB", 0.05, partial(with_noise, potentials=wander)
    ),
    "muscle": Corruption(f"muscle noise of 20 to 120 Hz, {SNR_DB:g} dB", 0.05, partial(with_noise, potentials=muscle)),
    "arm-reversal": Corruption("arm leads reversed", 0.05, arms_swapped),
    "flat-lead": Corruption("one flat lead", 0.05, one_flat),
    "missing-chest": Corruption("two missing chest leads", 0.05, two_missing),
}
for _count, _subset in SUBSETS.items():
    CORRUPTIONS[f"leads-{_count}"] = Corruption(f"{_count} leads", None, partial(only, leads=_subset))
CORRUPTIONS["crop-5"] = Corruption("5 s from anywhere", None, partial(cropped, seconds=5))
