"""What lies between the heart and the file: electrodes, muscles, breath, mains and amplifiers.

Disturbances arise at nine electrodes and reach the leads as differences of potentials, so Einthoven's law holds for
them as for the heart.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from .rhythm import Breath

# I, II and V1 to V6 out of the potentials of the right arm, left arm, left leg and six chest electrodes, the latter
# against Wilson's central terminal.
FROM_ELECTRODES = np.zeros((8, 9))
FROM_ELECTRODES[0, [0, 1]] = -1, 1
FROM_ELECTRODES[1, [0, 2]] = -1, 1
FROM_ELECTRODES[2:, 3:] = np.eye(6)
FROM_ELECTRODES[2:, :3] = -1 / 3


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
