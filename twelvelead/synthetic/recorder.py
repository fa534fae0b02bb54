"""What lies between the heart and the file: electrodes, muscles, breath, mains, amplifiers and filters.

Disturbances arise at nine electrodes and reach the leads as differences of potentials, so Einthoven's law holds for
them as for the heart. `Recorder` is one device as one nurse uses it, drawn at random for every recording.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from ..data.leads import CHEST_LEADS
from .heart import TWELVE
from .rhythm import Breath

# I, II and V1 to V6 out of the potentials of the right arm, left arm, left leg and six chest electrodes, the latter
# against Wilson's central terminal.
FROM_ELECTRODES = np.zeros((8, 9))
FROM_ELECTRODES[0, [0, 1]] = -1, 1
FROM_ELECTRODES[1, [0, 2]] = -1, 1
FROM_ELECTRODES[2:, 3:] = np.eye(6)
FROM_ELECTRODES[2:, :3] = -1 / 3

_RATES_HZ = {500: 0.60, 1000: 0.10, 250: 0.08, 257: 0.06, 360: 0.04, 400: 0.04, 100: 0.05, 125: 0.03}
# Electrodes that are exchanged, as (row, row) of the nine, and how often.
_EXCHANGES = {
    None: 0.955,
    (0, 1): 0.02,
    (1, 2): 0.004,
    (0, 2): 0.003,
    (3, 4): 0.006,
    (4, 5): 0.005,
    (5, 6): 0.004,
    (3, 5): 0.003,
}


@dataclass(frozen=True)
class Recorder:
    """One device as it was used for one recording.

    Attributes
    ----------
    frequency_hz, mains_hz : float
    seconds : float
        Length of the recording.
    high_pass_hz, low_pass_hz : float
        Cut-off frequencies, −3 dB.
    causal : bool
        Whether the high-pass filter delays, as an analogue one does, and so bends ST.
    notch : bool
        Whether mains hum is filtered out.
    step_mv : float
        Resolution.
    largest_mv : float
        Where the amplifier is saturated.
    gain : float
        A calibration error.
    noise : float
        Factor on the disturbances.
    loose_contacts : float
        Mean number of disturbances by an electrode's contact, in 10 s.
    exchanged : pair of int or None
        Rows of two electrodes, of the nine in FROM_ELECTRODES, that were exchanged.
    lost : tuple of int
        Rows of the twelve leads without a signal.
    sheet : bool
        Whether it is a sheet of 2.5 s a lead, four columns of three leads.
    """

    frequency_hz: float
    mains_hz: float
    seconds: float
    high_pass_hz: float
    low_pass_hz: float
    causal: bool
    notch: bool
    step_mv: float
    largest_mv: float
    gain: float
    noise: float
    loose_contacts: float
    exchanged: tuple[int, int] | None
    lost: tuple[int, ...]
    sheet: bool


def draw_recorder(rng: np.random.Generator) -> Recorder:
    """A device of a hospital drawn at random, and how it was used."""
    kind = rng.uniform()
    seconds = (
        10.0
        if kind < 0.76
        else rng.uniform(5, 10)
        if kind < 0.84
        else rng.uniform(10, 20)
        if kind < 0.96
        else rng.uniform(20, 60)
    )
    rates, exchanges = list(_RATES_HZ), list(_EXCHANGES)
    lost: tuple[int, ...] = ()
    if rng.uniform() < 0.03:
        lost = tuple(int(row) for row in rng.choice(CHEST_LEADS, int(rng.integers(1, 4)), replace=False))
    return Recorder(
        frequency_hz=float(rates[rng.choice(len(rates), p=list(_RATES_HZ.values()))]),
        mains_hz=float(rng.choice([50, 60])),
        seconds=float(seconds),
        high_pass_hz=float(np.exp(rng.uniform(np.log(0.05), np.log(0.67)))),
        low_pass_hz=float(rng.choice([40, 75, 100, 150]) if rng.uniform() < 0.6 else rng.uniform(35, 150)),
        causal=bool(rng.uniform() < 0.4),
        notch=bool(rng.uniform() < 0.6),
        step_mv=float(rng.choice([0.001, 0.0024, 0.00488, 0.005, 0.01], p=[0.3, 0.1, 0.3, 0.25, 0.05])),
        largest_mv=float(rng.choice([3.2, 5.0, 10.0, 32.0])),
        gain=float(np.exp(rng.normal(0, 0.03))),
        noise=float(np.exp(rng.normal(-0.15, 0.5))),
        loose_contacts=float(rng.choice([0.0, 0.6], p=[0.8, 0.2])),
        exchanged=exchanges[rng.choice(len(exchanges), p=list(_EXCHANGES.values()))],
        lost=lost,
        sheet=bool(seconds == 10.0 and rng.uniform() < 0.03),
    )


def record(rng: np.random.Generator, recorder: Recorder, eight: np.ndarray, breath: Breath, margin: int) -> np.ndarray:
    """What the recorder makes of a heart: float32 (12, samples), mV, NaN where a sheet shows nothing.

    Parameters
    ----------
    eight : float (8, margin + samples + margin)
        Leads I, II, V1 to V6 of the heart alone, mV; the margins, in samples, are for the filters.
    """
    total, frequency_hz = eight.shape[1], recorder.frequency_hz
    eight = eight + recorder.noise * disturbances(rng, total, frequency_hz, breath, recorder.mains_hz)
    eight += FROM_ELECTRODES @ contact_noise(rng, total, frequency_hz, recorder.loose_contacts)
    if recorder.exchanged:
        eight = exchange(recorder.exchanged) @ eight
    eight = filtered(eight.astype(np.float32), recorder)[:, margin : total - margin]
    gain = recorder.gain * np.exp(rng.normal(0, 0.01, (8, 1))).astype(np.float32)
    twelve = (eight * gain).T @ TWELVE.T.astype(np.float32)  # samples, 12
    np.clip(twelve, -recorder.largest_mv, recorder.largest_mv, out=twelve)
    step = np.float32(recorder.step_mv)
    twelve = np.rint(twelve / step) * step
    twelve[:, list(recorder.lost)] = 0
    if recorder.sheet:
        quarter = len(twelve) // 4
        for column in range(4):
            leads = slice(3 * column, 3 * column + 3)
            twelve[: quarter * column, leads] = twelve[quarter * (column + 1) :, leads] = np.nan
    return twelve.T


def exchange(electrodes: tuple[int, int]) -> np.ndarray:
    """Matrix (8, 8) that makes of I, II, V1 to V6 what they are with two electrodes (rows of the nine) exchanged."""
    order = np.arange(9)
    order[list(electrodes)] = order[list(electrodes)[::-1]]
    # Potentials that give the eight leads, with the mean of the three limbs at 0.
    potentials = np.linalg.pinv(FROM_ELECTRODES)
    return FROM_ELECTRODES[:, order] @ potentials


def filtered(signal: np.ndarray, recorder: Recorder) -> np.ndarray:
    """The signal (leads, samples) after the recorder's filters.

    A first-order high-pass filter, which delays if it is causal, a fourth-order Butterworth low-pass filter that does
    not, and a notch of 1 Hz at the mains frequency.
    """
    samples = signal.shape[1]
    length = fft.next_fast_len(samples, real=True)
    f = fft.rfftfreq(length, 1 / recorder.frequency_hz)
    ratio = f / recorder.high_pass_hz
    high = 1j * ratio / (1 + 1j * ratio)
    response = (high if recorder.causal else np.abs(high)) / np.sqrt(1 + (f / recorder.low_pass_hz) ** 8)
    if recorder.notch:
        response = response * (1 - np.exp(-0.5 * (f - recorder.mains_hz) ** 2))
    spectrum = fft.rfft(signal, length, axis=1)
    spectrum *= response.astype(np.complex64)
    return fft.irfft(spectrum, length, axis=1)[:, :samples]


def contact_noise(rng: np.random.Generator, samples: int, frequency_hz: float, per_ten_seconds: float) -> np.ndarray:
    """Potentials (9, samples), mV, of electrodes that move on the skin: steps that decay, and bursts of 1 to 10 Hz."""
    potentials = np.zeros((9, samples))
    for _ in range(rng.poisson(per_ten_seconds * samples / frequency_hz / 10)):
        electrode, onset = rng.integers(9), rng.integers(samples)
        t = np.arange(samples - onset) / frequency_hz
        size = 0.25 * np.exp(rng.normal(0, 0.7))
        if rng.uniform() < 0.5:
            potentials[electrode, onset:] += rng.choice([-1, 1]) * size * np.exp(-t / rng.uniform(0.1, 1.5))
        else:
            t = t[: int(rng.uniform(0.5, 2.5) * frequency_hz)]
            envelope = np.sin(np.pi * t / (t[-1] + 1 / frequency_hz)) ** 2
            tones = np.sin(2 * np.pi * rng.uniform(1, 10, (4, 1)) * t + rng.uniform(0, 2 * np.pi, (4, 1))).sum(axis=0)
            potentials[electrode, onset : onset + len(t)] += 0.5 * size * envelope * tones
    return potentials


def disturbances(
    rng: np.random.Generator, samples: int, frequency_hz: float, breath: Breath, mains_hz: float
) -> np.ndarray:
    """Noise in I, II, V1 to V6, float64 (8, samples) in mV: baseline wander, muscle, mains hum, offset.

    The levels are those of public recordings: 40 to 150 Hz about 0.01 mV, below 0.5 Hz about 0.03 mV, each with a
    spread of a factor of two between recordings, and now and then much more.
    """
    t = np.arange(samples) / frequency_hz
    wander = 0.030 * np.exp(rng.normal(0, 0.5)) * np.exp(rng.normal(0, 0.5, 9))
    muscle = 0.0085 * np.exp(rng.normal(0, 0.4)) * np.exp(rng.normal(0, 0.3, 9)) * rng.choice([1, 2.5], p=[0.94, 0.06])
    muscle[3:] *= 0.6  # arms and legs hold on to something
    hum = 0.002 * np.exp(rng.normal(0, 0.5, 9)) * rng.choice([1, 8], p=[0.90, 0.10])

    # one spectrum for both: 1/f² power from 0.04 to 0.8 Hz, and from 4 Hz, falling from 20 Hz on, to the
    # amplifier's 130 Hz
    length = fft.next_fast_len(samples + int(frequency_hz), real=True)
    f = fft.rfftfreq(length, 1 / frequency_hz)
    f = f[f < 200]  # above, the amplifier lets nothing through
    low = np.where((f > 0.04) & (f < 0.8), 1 / np.maximum(f, 0.04), 0)
    high = (f / 4) ** 2 / np.sqrt((1 + (f / 4) ** 4) * (1 + (f / 20) ** 2) * (1 + (f / 130) ** 8))
    size = np.outer(wander / np.sqrt((low**2).sum()), low) + np.outer(muscle * np.sqrt(f[1] / 30), high)
    random = rng.standard_normal((*size.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    potentials = fft.irfft((0.5 * length * size).astype(np.float32) * random, length)[:, :samples]

    phase = rng.uniform(0, 2 * np.pi) + rng.normal(0, 0.5, 9)
    swing, offset = wander * rng.normal(0.6, 0.3, 9), rng.normal(0, 0.012, 9)
    mixing = np.stack([swing, hum * np.cos(phase), hum * np.sin(phase), offset])
    mains = 2 * np.pi * mains_hz * t
    potentials += mixing.T @ np.stack([breath.at(t), np.sin(mains), np.cos(mains), np.ones(samples)])
    return FROM_ELECTRODES @ potentials
